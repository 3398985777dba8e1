"""OpenAI and Azure OpenAI: the models, their protocol and its errors."""

__all__: list[str] = []  # nothing here is public: import from vision_nb
