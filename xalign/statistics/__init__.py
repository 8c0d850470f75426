"""How sure a number is: intervals, tests, and null distributions."""
