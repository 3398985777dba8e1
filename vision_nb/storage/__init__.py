"""The parts of the store: its SQLite file, claims on questions, and what people say about answers."""

__all__: list[str] = []  # nothing here is public: import from vision_nb
