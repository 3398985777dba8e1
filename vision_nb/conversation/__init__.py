"""Conversations with a model about images."""
