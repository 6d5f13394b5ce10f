"""Is the embedding any good."""
