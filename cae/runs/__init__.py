"""The run folder, and opening it."""
