"""What the classifier makes of images: features, evidence and predictions, and its linear head where it has one."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from cae.classifiers import TargetClassifier
from cae.metrics.log_odds import log_odds
from explainers.caes.score_terms import Head, Responses

HEAD_TOLERANCE = 1e-5  # of the log-odds, by a head applied to the features against the classifier's own


class ClassifierResponses:
    """A classifier asked about one class, ``batch_size`` images at once; what it returns comes back on the CPU.

    Args:
        classifier: any; without a linear head the scores that need one are left out.
        target: class under study.
        images: ``(N, C, H, W)``, a few on which the head is tried.
        batch_size: images in one forward pass at most.
    """

    def __init__(self, classifier: TargetClassifier, target: int, images: Tensor, batch_size: int):
        self.classifier, self.target, self.batch_size = classifier, target, batch_size
        self.device = next(classifier.parameters(), torch.empty(0)).device
        self.head = self._find_head(images[:batch_size])

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Responses:
        """Responses to images ``(N, C, H, W)``: one forward pass each, two where the head is not linear."""
        features, logits = [], []
        for part in images.split(self.batch_size):
            part = part.to(self.device)
            features.append(self.classifier.features(part).flatten(1).cpu().float())
            given = self.head.logits(features[-1]) if self.head else self.classifier.logits(part).cpu()
            logits.append(given.double())
        scores = torch.cat(logits)
        return Responses(torch.cat(features), log_odds(scores, self.target).float(), scores.argmax(1))

    @torch.no_grad()
    def _find_head(self, images: Tensor) -> Head | None:
        """The last linear layer, if the classifier's log-odds are what it gives on the features."""
        network = self.classifier.network
        layers = (
            [part for part in network.modules() if isinstance(part, nn.Linear)]
            if isinstance(network, nn.Module)
            else []
        )
        if not layers:
            return None
        weight = layers[-1].weight.detach().cpu().float()
        bias = torch.zeros(len(weight)) if layers[-1].bias is None else layers[-1].bias.detach().cpu().float()
        if len(weight) == 1:  # a single score z stands for the logits (0, z)
            weight, bias = torch.cat([torch.zeros_like(weight), weight]), torch.cat([torch.zeros_like(bias), bias])
        if self.classifier.order:
            weight, bias = weight[list(self.classifier.order)], bias[list(self.classifier.order)]
        images = images.to(self.device)
        features = self.classifier.features(images).flatten(1).cpu().float()
        if features.shape[1] != weight.shape[1] or len(weight) != len(self.classifier.classes):
            return None
        head = Head(weight, bias)
        own = log_odds(self.classifier.logits(images).cpu().float(), self.target)
        error = (log_odds(head.logits(features), self.target) - own).abs()
        return head if bool((error <= HEAD_TOLERANCE * (1 + own.abs())).all()) else None
