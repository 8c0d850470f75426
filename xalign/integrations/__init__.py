"""Frameworks that people already train with, one file each."""
