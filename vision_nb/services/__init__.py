"""Services with OpenAI's Chat Completions API: a table of facts, and the services of users."""
