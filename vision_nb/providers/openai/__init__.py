"""OpenAI, Azure OpenAI, and servers that speak their protocol."""
