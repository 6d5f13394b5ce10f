"""Explain an image, and measure the explanation.

>>> import explainers
>>> "pmi" in explainers.list_explainers()
True

``explainers.get_explainer("pmi", classifier)(images)`` gives an ``Explanation``. Every name is imported when it is
first used.
"""

from typing import TYPE_CHECKING

from cae.lazy import lazy_names

if TYPE_CHECKING:
    from explainers.adapters import as_captum, as_quantus
    from explainers.base import Explainer, Instance, InstanceResult
    from explainers.explanation import Explanation
    from explainers.registry import get_explainer, list_explainers

__all__ = [
    "Explainer",
    "Explanation",
    "Instance",
    "InstanceResult",
    "as_captum",
    "as_quantus",
    "get_explainer",
    "list_explainers",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "Explainer": "explainers.base",
        "Explanation": "explainers.explanation",
        "Instance": "explainers.base",
        "InstanceResult": "explainers.base",
        "as_captum": "explainers.adapters",
        "as_quantus": "explainers.adapters",
        "get_explainer": "explainers.registry",
        "list_explainers": "explainers.registry",
    },
)
