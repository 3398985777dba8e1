"""Models on Replicate."""
