"""Checks of what users write: the names of arguments and attributes, and the nearest right one."""
