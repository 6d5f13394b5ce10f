"""Counterfactual generators on one footing: same classifier, images and targets, judged by the same oracle."""

from cae.generators.base import Generated, Generator

__all__ = ["Generated", "Generator"]
