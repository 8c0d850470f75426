"""Units and vectors: places that carry a language, to keep, combine and share."""
