"""Images as values: where they come from, what they are, and how they are prepared for a model."""
