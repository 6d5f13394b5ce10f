"""A local app: drop an image, and see live what would have to change for another answer."""
