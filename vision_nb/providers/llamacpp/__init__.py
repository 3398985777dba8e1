"""llama.cpp as a child process of the kernel."""
