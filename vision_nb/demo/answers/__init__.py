"""What the demo model answers."""
