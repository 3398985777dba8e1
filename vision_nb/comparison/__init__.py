"""Comparisons: models x prompts x images, their results, and people's labels of the answers."""

__all__: list[str] = []  # nothing here is public: import from vision_nb
