"""Conversion of values and untrusted text to safe HTML and Markdown."""

__all__: list[str] = []  # nothing here is public: import from vision_nb
