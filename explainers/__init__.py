"""Explain an image, and measure the explanation."""

from explainers.base import Explainer, Instance, InstanceResult
from explainers.explanation import Explanation
from explainers.registry import get_explainer, list_explainers

__all__ = ["Explainer", "Explanation", "Instance", "InstanceResult", "get_explainer", "list_explainers"]
