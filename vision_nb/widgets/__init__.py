"""The panels: each a small Python file with its script and style beside it."""
