"""Architectures: names of sites, a table of module paths per architecture, and the sites of a given model."""
