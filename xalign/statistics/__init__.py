"""Statistics of scores: intervals, tests, and null distributions."""
