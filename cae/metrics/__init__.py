"""Pure functions on images and classifier outputs."""
