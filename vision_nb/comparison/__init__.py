"""Models x prompts x images: the runner, what it found, and what people think of it."""
