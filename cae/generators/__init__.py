"""Counterfactual generators on one footing: same classifier, images and targets, judged by the same oracle."""

from cae.lazy import lazy_names

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {"Generated": "cae.generators.base", "Generator": "cae.generators.base"},
)
