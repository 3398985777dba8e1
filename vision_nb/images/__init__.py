"""Images: `ImageDocument`, loading from files, folders and URLs, decoding, and preparing them for a request."""

__all__: list[str] = []  # nothing here is public: import from vision_nb
