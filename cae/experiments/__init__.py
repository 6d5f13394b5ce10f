"""Experiments: arms and seeds of one recipe as jobs, and their figures as one table."""
