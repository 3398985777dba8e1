"""API keys, the removal of secrets from texts and exceptions, and addresses without secrets."""

__all__: list[str] = []  # nothing here is public: import from vision_nb
