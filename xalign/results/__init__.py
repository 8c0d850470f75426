"""What a measurement found, and how two of them differ."""
