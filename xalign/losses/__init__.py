"""Forces: pure functions of tensors that pull translations together."""
