"""The chat panel and the label panel: each widget is a Python module with its script and style beside it."""

__all__: list[str] = []  # nothing here is public: import from vision_nb
