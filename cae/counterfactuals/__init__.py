"""One image to another class."""
