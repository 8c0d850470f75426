"""Improving: alignment losses in any training loop."""
