"""Units and vectors that stand for a language: combine, save and share them."""
