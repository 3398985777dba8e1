"""OpenAI and Azure OpenAI: the models, the Chat Completions protocol and its errors."""

__all__: list[str] = []  # nothing here is public: import from vision_nb
