"""Output in IPython: display, progress, tracebacks, and async code in cells."""
