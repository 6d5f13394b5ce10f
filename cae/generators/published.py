"""The published class association embedding on the classifier's predictions, walked as its program walks."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cae.config import Config
from cae.config.command_line import load_config
from cae.errors import UserError
from cae.files import read_json
from cae.generators.base import Generated, Generator
from cae.generators.search import first_or_last
from cae.manifold.class_manifold import ClassManifold
from cae.models.loading import load_cae
from cae.models.published import check_image_shape
from cae.runs.run_folder import RunFolder
from cae.runs.trained_run import TrainedRun
from cae.training.cae import train_cae

STEPS = 6  # of the way to the reference
LONG = 1_000_000  # validations: the published training ends after its steps, and only then


def published_config(config: Config, folder: Path, seed: int) -> Config:
    """Options of a training by the recipe ``published`` on the classifier's predictions, in a run folder of its own."""
    steps = config.generators.steps or config.cae.max_steps
    found = load_config(
        ["published"],
        ["cae.target=classifier", f"cae.max_steps={steps}", "cae.warmup_steps=0", "cae.ramp_steps=0",
         f"cae.validate_every={min(config.cae.validate_every, steps)}", f"cae.patience={LONG}", "cae.augment=false",
         f"seed={seed}"],
        base=config,
    )  # fmt: skip
    found.runs, found.name = str(folder.parent), folder.name
    found.resume, found.overwrite = "last", False
    return found


class PublishedWalk(Generator):
    """Xie et al.'s networks and losses, with predictions for labels; six equal steps to a typical image's class code.

    The published program walks to an image that a person has picked; the medoid of the target's training images stands
    in for it. The counterfactual is the decoder's own image at the first step that reaches the margin, or at the last.

    Reference: Xie et al. 2024, arXiv:2406.07961, with the authors' code.
    """

    words = "the published recipe on predictions, six steps"
    has_path = True

    def __init__(self, run: TrainedRun, seed: int):
        super().__init__(run, seed)
        try:
            check_image_shape(
                run.data.image_shape, published_config(run.config, Path(), seed).cae.model.residual_blocks
            )
        except UserError as error:
            raise UserError(
                [f"{words} Or leave `published` out of generators.arms." for words in error.problems]
            ) from None

    @property
    def parameters(self) -> dict[str, Any]:
        """Everything that its training depends on."""
        config = published_config(self.run.config, Path(), self.seed)
        model, cae = config.cae.model, config.cae
        sizes = {name: getattr(model, name) for name in ("width", "class_dim", "residual_blocks")}
        return {**sizes, "steps": cae.max_steps, "batch_size": config.data.batch_size, "walk": STEPS, "seed": self.seed}

    def prepare(self, folder: Path) -> float:
        """Train the embedding, or go on, or load the finished one."""
        run, config = self.run, published_config(self.run.config, folder, self.seed)
        own = RunFolder(config)
        start = own.prepare("cae", {"classifier": run.fingerprints["classifier"]})
        if not start.finished:
            data = copy.copy(run.data)  # the same splits, in the recipe's batches
            data.config = config.data
            train_cae(config, data, run.classifier, run.oracle, folder, start.checkpoint)
        self.cae = load_cae(folder / "cae.safetensors", lambda _: None)[0].to(run.device).eval().requires_grad_(False)
        self.manifold = ClassManifold.load(folder / "manifold.safetensors")
        return float(read_json(folder / "metrics.json").get("seconds/cae_training", 0.0))

    def generate(self, images: Tensor, targets: Tensor) -> Generated:
        """Decoded images; their change is against the reconstructions."""
        codes = self.cae.encode(images)
        references = self._references(codes.class_code.cpu(), targets.tolist()).to(codes.class_code)
        shares = torch.arange(1, STEPS + 1, device=images.device) / STEPS
        points = [self.cae.decode(torch.lerp(codes.class_code, references, s), codes.individual_code) for s in shares]
        reached = torch.stack([self.reached(point, targets) for point in points], 1)
        path = torch.stack(points, 1)
        found = path[torch.arange(len(images), device=images.device), first_or_last(reached)]
        bases = self.cae.decode(codes.class_code, codes.individual_code)
        return Generated(found, path[:, -1], bases, torch.tensor([STEPS + 1]))

    def _references(self, codes: Tensor, targets: list[int]) -> Tensor:
        """The class codes ``(B, D)`` to walk to; an image's own where the classifier never sees the target."""
        rows = []
        for code, target in zip(codes, targets, strict=True):
            found = self.manifold.references(code, target, "medoid")
            rows.append(found.codes[0] if len(found) else code)
        return torch.stack(rows)
