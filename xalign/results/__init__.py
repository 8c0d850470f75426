"""The results of measurements: reports, their differences, and histories of runs."""
