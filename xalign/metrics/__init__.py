"""Numbers: pure functions of tensors."""
