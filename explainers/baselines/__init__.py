"""Known methods and controls."""
