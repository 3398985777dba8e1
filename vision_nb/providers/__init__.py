"""The models: one interface, and a package for each provider."""

__all__: list[str] = []  # nothing here is public: import from vision_nb
