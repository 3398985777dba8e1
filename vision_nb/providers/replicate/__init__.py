"""Models on Replicate: their catalog, predictions, event streams, transport and errors."""

__all__: list[str] = []  # nothing here is public: import from vision_nb
