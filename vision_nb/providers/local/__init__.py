"""Models on local servers: discovery, types of servers, and configuration files for LocalAI."""

__all__: list[str] = []  # nothing here is public: import from vision_nb
