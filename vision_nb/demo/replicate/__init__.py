"""Replicate's protocol for the demo server."""

__all__: list[str] = []  # nothing here is public: import from vision_nb
