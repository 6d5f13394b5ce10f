"""One row per explained image."""
