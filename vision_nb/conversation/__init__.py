"""Conversations about images: `Chat`, its saved files, and its export formats."""

__all__: list[str] = []  # nothing here is public: import from vision_nb
