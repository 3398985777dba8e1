"""OpenAI's protocol, as the demo server speaks it."""
