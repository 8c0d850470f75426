"""The demo: alignment emerges in one small model, and is put into another."""
