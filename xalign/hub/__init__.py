"""Reports where others look for results: the Hub, and the records of Every Eval Ever."""
