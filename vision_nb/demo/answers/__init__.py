"""The demo model: answers questions about images from measured pixels."""

__all__: list[str] = []  # nothing here is public: import from vision_nb
