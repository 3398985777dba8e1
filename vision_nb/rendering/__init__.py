"""Untrusted text to safe HTML and Markdown."""
