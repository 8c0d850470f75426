"""Alignment along a training run."""
