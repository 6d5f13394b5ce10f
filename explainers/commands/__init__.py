"""Explain.py's words."""
