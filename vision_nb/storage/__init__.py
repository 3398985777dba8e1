"""The parts of the store: its SQLite file, claims on questions, and people's labels and reviews."""

__all__: list[str] = []  # nothing here is public: import from vision_nb
