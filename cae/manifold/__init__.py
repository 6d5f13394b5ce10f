"""Class codes of the training images."""
