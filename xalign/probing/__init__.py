"""What a model holds at each layer."""
