"""Learn how a classifier sees its classes, and how an image would have to change for another answer.

>>> import cae
>>> config = cae.load_config(["lesions"], ["name=demo"])
>>> config.data.image_size
64

``cae.load_run("runs/demo")`` opens what ``cae-train`` has left there, ``cae.find_counterfactuals`` explains images with
it. Every name is imported when it is first used.
"""

from typing import TYPE_CHECKING

from cae.lazy import lazy_names

if TYPE_CHECKING:
    from cae.classifiers import TargetClassifier, load_classifier
    from cae.config import Config
    from cae.config.command_line import load_config
    from cae.config.recipes import list_recipes
    from cae.counterfactuals.find import find_counterfactuals
    from cae.counterfactuals.result import Counterfactual
    from cae.data import CAEDataModule, ImageFiles
    from cae.errors import UserError
    from cae.manifold.class_manifold import ClassManifold
    from cae.models.cae import CAE
    from cae.models.loading import load_cae
    from cae.runs.classifier_run import ClassifierRun, open_classifier
    from cae.runs.trained_run import TrainedRun, load_run

__version__ = "0.1.0"

__all__ = [
    "CAE",
    "CAEDataModule",
    "ClassManifold",
    "ClassifierRun",
    "Config",
    "Counterfactual",
    "ImageFiles",
    "TargetClassifier",
    "TrainedRun",
    "UserError",
    "__version__",
    "find_counterfactuals",
    "list_recipes",
    "load_cae",
    "load_classifier",
    "load_config",
    "load_run",
    "open_classifier",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "CAE": "cae.models.cae",
        "CAEDataModule": "cae.data.module",
        "ClassManifold": "cae.manifold.class_manifold",
        "ClassifierRun": "cae.runs.classifier_run",
        "Config": "cae.config",
        "Counterfactual": "cae.counterfactuals.result",
        "ImageFiles": "cae.data.records",
        "TargetClassifier": "cae.classifiers",
        "TrainedRun": "cae.runs.trained_run",
        "UserError": "cae.errors",
        "find_counterfactuals": "cae.counterfactuals.find",
        "list_recipes": "cae.config.recipes",
        "load_cae": "cae.models.loading",
        "load_classifier": "cae.classifiers",
        "load_config": "cae.config.command_line",
        "load_run": "cae.runs.trained_run",
        "open_classifier": "cae.runs.classifier_run",
    },
)
