"""Finding the units that carry a language, and changing exactly them."""
