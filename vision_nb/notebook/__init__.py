"""Output in IPython and Jupyter, and running coroutines in a cell."""

__all__: list[str] = []  # nothing here is public: import from vision_nb
