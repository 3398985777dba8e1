"""llama.cpp as a child process: downloads, GGUF headers, and the model that it serves."""

__all__: list[str] = []  # nothing here is public: import from vision_nb
