"""The classifier to be explained: any model, one frozen face."""

from cae.classifiers.imagenet import imagenet_classes, load_imagenet_classifier
from cae.classifiers.networks import OWN_NETWORKS, PlainConvNet, SmallResNet
from cae.classifiers.reading import ClassifierReader, readable
from cae.classifiers.saved import load_own, save_classifier
from cae.classifiers.target import TargetClassifier
from cae.classifiers.zoo import brings_classes, load_classifier

__all__ = [
    "OWN_NETWORKS",
    "ClassifierReader",
    "PlainConvNet",
    "SmallResNet",
    "TargetClassifier",
    "brings_classes",
    "imagenet_classes",
    "load_classifier",
    "load_imagenet_classifier",
    "load_own",
    "readable",
    "save_classifier",
]
