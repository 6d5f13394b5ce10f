"""What an explanation is worth, measured against controls."""

from explainers.metrics.catalogue import AGAINST_RANDOM, CONTROL, HEADLINE, METRICS, Metric, describe
from explainers.metrics.counterfactual import counterfactual_metrics
from explainers.metrics.explainer_checks import explainer_checks
from explainers.metrics.suite import PRESETS, MetricSuite
from explainers.metrics.summary import Figure, localisation_words, summarise

__all__ = [
    "AGAINST_RANDOM",
    "CONTROL",
    "HEADLINE",
    "METRICS",
    "PRESETS",
    "Figure",
    "Metric",
    "MetricSuite",
    "counterfactual_metrics",
    "describe",
    "explainer_checks",
    "localisation_words",
    "summarise",
]
