"""Images: `ImageDocument`, loading, decoding, and preparation for a request."""

__all__: list[str] = []  # nothing here is public: import from vision_nb
