"""Ask models about pictures, in a notebook."""
