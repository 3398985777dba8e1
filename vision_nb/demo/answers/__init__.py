"""The demo model: answers questions about images by measuring their pixels."""

__all__: list[str] = []  # nothing here is public: import from vision_nb
