"""The learned in-fill: draws from a network that was trained to predict a patch from what surrounds it."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.nn import functional as F

from cae.errors import UserError
from cae.files import read_tensors, write_json, write_tensors
from explainers.infills import likelihood
from explainers.infills.base import Sampler, place_crops
from explainers.infills.networks import PUBLISHED_WINDOWS, PatchUNet, PublishedNetwork

AT_ONCE = 16  # windows that draws are made of together: the levels of every pixel take room


class PatchDistribution(nn.Module):
    """The distribution of a window of K pixels given the image around it.

    Args:
        channels: C of the images.
        window: K.
        architecture: ``unet``, or ``published`` for windows of 4 or 8.
        head: ``categorical`` for independent pixels of 256 levels, ``lowrank`` for one Gaussian over the patch.
        width: channels of the U-Net's finest level.
        factors: of the Gaussian's covariance.

    Raises:
        UserError: for a window that the published network cannot take.
    """

    def __init__(
        self,
        channels: int,
        window: int,
        architecture: str = "unet",
        head: str = "categorical",
        width: int = 32,
        factors: int = 16,
    ):
        super().__init__()
        self.sizes = {
            "channels": channels, "window": window, "architecture": architecture, "head": head, "width": width,
            "factors": factors,
        }  # fmt: skip
        self.channels, self.window, self.head, self.factors = channels, window, head, factors
        outputs = channels * (likelihood.LEVELS if head == "categorical" else 2 + factors)
        if architecture == "published" and window not in PUBLISHED_WINDOWS:
            raise UserError(f"`sampler.architecture=published` is for windows of 4 or 8 pixels, but got {window}.")
        self.network: nn.Module = (
            PublishedNetwork(channels, window, outputs)
            if architecture == "published"
            else PatchUNet(channels, window, outputs, width)
        )

    @torch.no_grad()
    def begin_at(self, counts: Tensor) -> None:
        """Let the untrained categorical head give each channel's histogram, ``counts (C, 256)``."""
        if self.head != "categorical":
            return
        last = [layer for layer in self.network.modules() if isinstance(layer, nn.Conv2d)][-1]
        last.weight.mul_(0.1)
        if last.bias is not None:
            last.bias.copy_((counts.double() + 1).log().sub((counts.double() + 1).sum(1, keepdim=True).log()).flatten())

    def forward(self, images: Tensor, rows: Tensor, tops: Tensor) -> Tensor:
        """What the network says of windows.

        Args:
            images: ``(B, C, H, W)`` in [0, 1].
            rows: ``(M,)`` image of each window.
            tops: ``(M, 2)`` upper left pixels of the windows.

        Returns:
            ``(M, outputs, K, K)``.
        """
        k = self.window
        inside = torch.ones_like(images[:, :1])
        padded = F.pad(torch.cat([images, inside], 1), [k] * 4)
        around = place_crops(padded, rows, tops, 3 * k)
        return self.network(around[:, :-1], around[:, -1:])

    def bits(self, images: Tensor, rows: Tensor, tops: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Bits per dimension ``(M,)`` of windows; the ``lowrank`` head draws its noise from the generator."""
        outputs = self(images, rows, tops)
        patches = place_crops(images, rows, tops, self.window)
        if self.head == "categorical":
            return likelihood.categorical_bits(outputs, patches)
        uniform = torch.rand(patches.shape, generator=generator, device=generator.device if generator else None)
        return likelihood.lowrank_bits(outputs, patches, uniform.to(patches.device))

    def draws(self, outputs: Tensor, n: int, generators: Sequence[torch.Generator]) -> Tensor:
        """Draws ``(M, n, C, K, K)`` in [0, 1], each window's from its own generator."""
        k, size = self.window, self.channels * self.window**2
        if self.head == "categorical":
            uniform = torch.stack([torch.rand(n, size, generator=generator) for generator in generators])
            shape = (self.channels, k, k)
            return likelihood.categorical_draws(outputs, uniform.to(outputs.device).unflatten(2, shape))
        normal = torch.stack([torch.randn(n, size + self.factors, generator=generator) for generator in generators])
        return likelihood.lowrank_draws(outputs, self.channels, normal.to(outputs.device))


def random_tops(count: int, shape: tuple[int, int], window: int, generator: torch.Generator | None = None) -> Tensor:
    """Windows ``(count, 2)`` anywhere inside an image, all places equally likely."""
    limits = torch.tensor(shape) - window + 1
    return (torch.rand(count, 2, generator=generator) * limits).long()


class PatchSampler(pl.LightningModule):
    """Trains a ``PatchDistribution`` by its bits per dimension; ``average`` holds the averaged weights.

    Args:
        sizes: arguments of ``PatchDistribution``.
        crops: windows of one training step.
        validation_crops: windows of one validation, the same every time.
        max_steps: length of the learning-rate schedule.
        warmup_steps: steps over which the learning rate rises.
        learning_rate: its peak.
        weight_decay: of AdamW.
        ema: decay of the averaged weights.
        seed: with the step, it determines all randomness of training.
        mirror: mirror training windows at random, left to right.
        validation_images: images of one validation in all, over which the windows are spread.
        level_counts: ``(C, 256)`` how often each level comes in the training images, to begin at.
    """

    def __init__(
        self,
        sizes: Mapping[str, Any],
        crops: int = 128,
        validation_crops: int = 10_000,
        max_steps: int = 5000,
        warmup_steps: int = 500,
        learning_rate: float = 3e-4,
        weight_decay: float = 0.01,
        ema: float = 0.999,
        seed: int = 0,
        mirror: bool = False,
        validation_images: int = 1,
        level_counts: Tensor | None = None,
    ):
        super().__init__()
        self.save_hyperparameters(ignore=["level_counts"])
        self.distribution = PatchDistribution(**sizes)
        if level_counts is not None:
            self.distribution.begin_at(level_counts)
        self.average: PatchDistribution = copy.deepcopy(self.distribution).requires_grad_(False)
        self._validation: list[Tensor] = []
        self._at_border: list[Tensor] = []

    def forward(self, images: Tensor, rows: Tensor, tops: Tensor) -> Tensor:
        """What the averaged network says of windows; see ``PatchDistribution``."""
        return self.average(images, rows, tops)

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Randomness is a function of seed, step and process, so that a resumed run draws what it would have drawn."""
        seed = self.hparams["seed"] * 1_000_003 + self.global_step
        torch.manual_seed((seed * 4096 + self.global_rank) % 2**63)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        """Bits per dimension of random windows of the batch."""
        images, count = batch.images, self.hparams["crops"]
        if self.hparams["mirror"]:
            images = torch.where(torch.rand(len(images), 1, 1, 1).to(images.device) < 0.5, images.flip(-1), images)
        rows = torch.arange(count, device=images.device) % len(images)
        tops = random_tops(count, tuple(images.shape[2:]), self.distribution.window).to(images.device)
        loss = self.distribution.bits(images, rows, tops).mean()
        self.log("train/bpd", loss.detach(), prog_bar=True)
        return loss

    def on_validation_epoch_start(self) -> None:
        """Forget the windows of the last validation."""
        self._validation, self._at_border = [], []

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        """Bits of the fixed windows of a batch."""
        each = -(-self.hparams["validation_crops"] // self.hparams["validation_images"])
        rows, tops = fixed_windows(len(batch.images), each, batch.images.shape, self.distribution.window, batch_idx)
        generator = torch.Generator().manual_seed(batch_idx)
        for part in torch.arange(len(rows)).split(256):
            place = tops[part].to(self.device)
            bits = self.average.bits(batch.images, rows[part].to(self.device), place, generator)
            self._validation.append(bits.float().cpu())
        self._at_border.append(at_border(tops, tuple(batch.images.shape[2:]), self.distribution.window))

    def on_validation_epoch_end(self) -> None:
        """Log the means, over all windows and apart for those whose surroundings reach over the border."""
        bits, border = torch.cat(self._validation), torch.cat(self._at_border)
        values = {"val/bpd": bits.mean()}
        for name, chosen in (("border", border), ("interior", ~border)):
            if chosen.any():
                values[f"val/bpd_{name}"] = bits[chosen].mean()
        self.log_dict(values, sync_dist=True)
        self.log("bpd", values["val/bpd"], prog_bar=True, logger=False, sync_dist=True)

    def optimizer_step(self, *arguments: Any, **named: Any) -> None:
        """Step and average the weights: one act, so that no checkpoint falls between the two."""
        super().optimizer_step(*arguments, **named)
        steps = self.global_step + 1
        decay = min(self.hparams["ema"], steps / (9 + steps))  # early on with a shorter memory
        with torch.no_grad():
            for average, current in zip(self.average.parameters(), self.distribution.parameters(), strict=True):
                average.lerp_(current, 1 - decay)

    def configure_optimizers(self) -> Any:
        """AdamW; the learning rate rises linearly, then falls along a cosine."""
        options = self.hparams
        optimiser = torch.optim.AdamW(
            self.distribution.parameters(), lr=options["learning_rate"], weight_decay=options["weight_decay"]
        )
        warmup = max(min(options["warmup_steps"], options["max_steps"] // 5), 1)
        rise = torch.optim.lr_scheduler.LinearLR(optimiser, 1 / warmup, total_iters=warmup)
        fall = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, max(options["max_steps"] - warmup, 1))
        schedule = torch.optim.lr_scheduler.SequentialLR(optimiser, [rise, fall], [warmup])
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def fixed_windows(images: int, each: int, shape: Sequence[int], window: int, seed: int) -> tuple[Tensor, Tensor]:
    """``each`` windows of every one of ``images`` images: their rows ``(M,)`` and tops ``(M, 2)``, seeded."""
    generator = torch.Generator().manual_seed(seed)
    rows = torch.arange(images).repeat_interleave(each)
    return rows, random_tops(len(rows), (int(shape[-2]), int(shape[-1])), window, generator)


def at_border(tops: Tensor, shape: tuple[int, int], window: int) -> Tensor:
    """Whether one window of context around a window reaches over the image's border, ``(M,)`` bool."""
    limits = torch.tensor(shape) - 2 * window
    return ((tops < window) | (tops > limits)).any(1)


class LearnedSampler(Sampler):
    """Draws from a trained ``PatchDistribution``, for windows of the size that it was trained for.

    Args:
        distribution: the network.
        facts: what its file says of it: ``bits`` per dimension, ``fingerprint`` of the data.
    """

    name = "learned"

    def __init__(self, distribution: PatchDistribution, facts: Mapping[str, Any] | None = None):
        self.distribution = distribution.eval()
        self.facts = dict(facts or {})
        self.window = distribution.window
        self.fingerprint = str(self.facts.get("fingerprint", ""))

    @torch.inference_mode()
    def sample(self, image: Tensor, tops: Tensor, size: int, n: int, generators: Sequence[torch.Generator]) -> Tensor:
        """Draw every window."""
        if size != self.window:
            raise UserError(
                f"the learned in-fill was trained for windows of {self.window} pixels, but is asked for {size}: set "
                f"`window={self.window}`, or train one with `python train.py sampler … sampler.window={size}`."
            )
        if len(image) != self.distribution.channels:
            raise UserError(
                f"the learned in-fill was trained on images of {self.distribution.channels} channels, not {len(image)}."
            )
        self.distribution.to(image.device)
        drawn = []
        for first in range(0, len(tops), AT_ONCE):
            places = tops[first : first + AT_ONCE].to(image.device)
            outputs = self.distribution(image[None], torch.zeros_like(places[:, 0]), places)
            drawn.append(self.distribution.draws(outputs, n, generators[first : first + len(places)]))
        return torch.cat(drawn)

    def card(self) -> dict[str, Any]:
        """Name, data, bits per dimension and architecture."""
        return {**super().card(), "bits": self.facts.get("bits"), **self.distribution.sizes}

    def save(self, folder: str | Path) -> None:
        """Write ``sampler.json`` and, last, ``sampler.safetensors``."""
        header = {"kind": "sampler", "sizes": self.distribution.sizes, **self.facts}
        write_json(Path(folder) / "sampler.json", header)
        write_tensors(Path(folder) / "sampler.safetensors", self.distribution.state_dict(), "sampler", header)

    @classmethod
    def load(cls, folder: str | Path) -> LearnedSampler:
        """Read what ``save`` wrote.

        Raises:
            UserError: if there is none, or it cannot be read.
        """
        path = Path(folder) / "sampler.safetensors"
        if not path.exists():
            raise UserError(f"no learned in-fill at '{path}'; train one with `python train.py sampler …`.")
        try:
            header, weights = read_tensors(path, "sampler")
            distribution = PatchDistribution(**header.pop("sizes"))
            distribution.load_state_dict(weights)
        except (SafetensorError, OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
            raise UserError(
                f"'{path}' cannot be read as a learned in-fill ({error}); train it anew with `python train.py sampler "
                "… overwrite=true`."
            ) from error
        return cls(distribution, header)
