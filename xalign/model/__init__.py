"""Where things are in a model, and how to touch them."""
