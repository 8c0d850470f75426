"""Architectures: names of places, the table of module paths, and where they are in a model."""
