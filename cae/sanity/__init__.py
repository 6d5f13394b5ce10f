"""Sanity tests of explanations (``explain.py sanity``), each with the models that it needs and a rule to pass."""
