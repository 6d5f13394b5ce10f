"""Whether the embedding is any good, in numbers, pictures and words."""
