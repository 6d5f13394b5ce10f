"""What the sanity tests share: the run's data and classifier, images to explain, maps, swaps, and results."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from cae.classifiers import TargetClassifier
from cae.config import Config
from cae.counterfactuals.find import find_counterfactuals
from cae.counterfactuals.result import Counterfactual
from cae.data import CAEDataModule
from cae.data.selection import spread_order
from cae.devices import device_for
from cae.diagnostics.swaps import classify_swaps
from cae.runs.classifier_run import ClassifierRun, open_classifier
from cae.runs.run_folder import RunFolder
from cae.sanity.control_models import ControlModel, control_config, control_model
from cae.sanity.criteria import Estimate, Rule
from cae.sanity.figures import EXAMPLES


@dataclass(frozen=True, eq=False)
class Instances:
    """Test images ``(N, C, H, W)`` with labels ``(N,)``, ids and masks ``(N, 1, H, W)`` where the data has them."""

    images: Tensor
    labels: Tensor
    ids: tuple[str, ...]
    masks: Tensor | None

    def pick(self, rows: Tensor) -> Instances:
        """The images of ``rows (R,)``."""
        masks = None if self.masks is None else self.masks[rows]
        return Instances(self.images[rows], self.labels[rows], tuple(self.ids[row] for row in rows.tolist()), masks)


@dataclass(eq=False)
class SanityRecord:
    """What one test found: rules, and numbers by name."""

    rules: list[Rule] = field(default_factory=list)
    numbers: dict[str, float] = field(default_factory=dict)

    def note(self, name: str, value: float | Estimate) -> None:
        """Keep a number, with its interval and count where it has them."""
        if isinstance(value, Estimate):
            ends = {name: value.value, f"{name}_low": value.low, f"{name}_high": value.high}
            self.numbers |= ends | {f"{name}_count": value.count}
        else:
            self.numbers[name] = value

    def demand(self, name: str, demand: str, found: str, passed: bool) -> None:
        """Add a rule with what came of it."""
        self.rules.append(Rule(name, demand, found, passed))


@dataclass(frozen=True, eq=False)
class SanityContext:
    """What all tests of one call share: the run's data and classifier, and CAEs trained against it.

    Args:
        config: the program's options.
    """

    config: Config

    @cached_property
    def run(self) -> RunFolder:
        """The folder of the run."""
        return RunFolder(self.config)

    @cached_property
    def device(self) -> torch.device:
        """The device that explains."""
        return device_for(self.config.trainer.accelerator, self.config.trainer.devices)

    @cached_property
    def opened(self) -> ClassifierRun:
        """The run's data and classifier, opened when a test first asks for them."""
        return open_classifier(self.config)

    @property
    def data(self) -> CAEDataModule:
        """The run's data."""
        return self.opened.require_data()

    @property
    def classifier(self) -> TargetClassifier:
        """The run's classifier."""
        return self.opened.classifier

    @property
    def fingerprints(self) -> dict[str, Any]:
        """Of the run's classifier and data."""
        return {"classifier": self.classifier.fingerprint(), "data": self.data.fingerprint}

    def retrained_model(self, number: int) -> ControlModel:
        """A CAE trained against the run's classifier, from seed ``number`` above the run's; 0 may be the run's own."""
        config = control_config(self.config, "randomised", f"seed_{number}", seed=self.config.seed + number)
        return control_model(config, self.data, self.classifier, self.run.path if number == 0 else None)

    def instances(self, data: CAEDataModule) -> Instances:
        """The test images that a test explains."""
        order = spread_order(data.test.labels)[: self.config.sanity.images]
        samples = [data.test[place] for place in order]
        masks = [sample.mask for sample in samples if sample.mask is not None]
        return Instances(
            torch.stack([sample.image for sample in samples]),
            torch.tensor([sample.label for sample in samples]),
            tuple(sample.id for sample in samples),
            torch.stack(masks) if len(masks) == len(samples) else None,
        )


def explain_instances(model: ControlModel, instances: Instances, targets: Tensor | None = None) -> list[Counterfactual]:
    """Counterfactuals towards the prototype of each target, by default the runner-up: every model's path ends alike."""
    options = dataclasses.replace(
        model.config.counterfactual, target="runner-up", reference="prototype", references=1, average=1
    )
    return find_counterfactuals(
        model.cae, model.classifier, model.manifold, instances.images, targets=targets, config=options,
        ids=instances.ids, seed=model.config.seed,
    )  # fmt: skip


def full_change(result: Counterfactual) -> Tensor:
    """The map ``(H, W)`` of a whole path: its end minus its start, absolute, summed over channels; there always.

    Zeros where there is no path.
    """
    return (result.path_images[-1] - result.path_images[0]).abs().sum(0)


def evidence(result: Counterfactual) -> Tensor:
    """The evidence map ``(H, W)``; zeros where there is no path."""
    return torch.zeros_like(result.original[0]) if result.evidence is None else result.evidence[0]


def example_rows(count: int) -> list[int]:
    """Places of the images that are drawn, at most ``EXAMPLES``."""
    return list(range(min(count, EXAMPLES)))


@torch.no_grad()
def swap_predictions(
    model: ControlModel, classifiers: dict[str, TargetClassifier], instances: Instances, pairs: tuple[Tensor, Tensor]
) -> dict[str, Tensor]:
    """Classes ``(P,)`` that each classifier gives to swaps (recipients, donors), made as explanations are made."""
    residual = model.config.counterfactual.output == "residual"
    batch_size = model.config.counterfactual.batch_size
    swaps = classify_swaps(model.cae, classifiers, instances.images, pairs, batch_size, residual)
    return {name: scores.argmax(1) for name, scores in (swaps.residual if residual else swaps.decoded).items()}
