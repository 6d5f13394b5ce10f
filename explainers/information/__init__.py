"""Information gain, PMI, prediction difference."""
