"""Parallel text: sentences of several languages that translate one another, loaded and checked."""
