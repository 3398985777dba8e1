"""Structured answers: from a class or JSON schema to a request, and from an answer to a value."""

__all__: list[str] = []  # nothing here is public: import from vision_nb
