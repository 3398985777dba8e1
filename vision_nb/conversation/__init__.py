"""Conversations about images: `Chat`, the files that it is saved to, and the formats that it is exported to."""

__all__: list[str] = []  # nothing here is public: import from vision_nb
