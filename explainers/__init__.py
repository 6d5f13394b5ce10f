"""Explain an image, and measure the explanation."""

from explainers.base import Explainer, Finding, Subject
from explainers.explanation import Explanation
from explainers.registry import get_explainer, list_explainers

__all__ = ["Explainer", "Explanation", "Finding", "Subject", "get_explainer", "list_explainers"]
