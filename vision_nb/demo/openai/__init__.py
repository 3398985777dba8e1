"""OpenAI's and Azure OpenAI's protocols for the demo server."""

__all__: list[str] = []  # nothing here is public: import from vision_nb
