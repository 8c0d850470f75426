"""An alignment report as a console table and as a figure."""
