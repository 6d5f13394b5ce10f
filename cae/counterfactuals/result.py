"""The result of one search for a counterfactual, kept in a file and drawn on demand."""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

from torch import Tensor

from cae.counterfactuals.regions import kept_regions
from cae.files import read_saved, write_tensors
from cae.metrics.localisation import evidence_map

FORMAT = "counterfactual-1"


@dataclass(frozen=True, eq=False)
class Counterfactual:
    """One image, and what would have to change for the classifier to see another class in it. Tensors are on the CPU.

    A counterfactual is there only if ``found``: nothing else is ever shown as one. ``status`` is ``found``,
    ``already_target`` (the target is predicted before any change), ``reconstruction_flip`` (decoded output only: the
    reconstruction alone changes the prediction, so the path would prove nothing) or ``not_found``.

    In a notebook it draws itself as a traversal strip; ``show()`` does the same elsewhere.

    Attributes:
        id: of the image.
        classes: names of the K classes.
        source: class predicted for the original.
        target: class to be reached; if any class would do, the one that was reached or came closest.
        status: one of the four words above.
        reason: the same in words.
        output: ``residual`` or ``decoded``: what kind of images these are.
        original: ``(C, H, W)`` as it was given.
        reconstruction: ``(C, H, W)`` by the autoencoder.
        counterfactual: ``(C, H, W)`` image at the boundary; None unless found.
        closest: ``(C, H, W)`` image with the largest margin on the best path; None if found or if there is no path.
        tau: ``(G,)`` positions along the path, shares of its length in [0, 1]; ``(1,)`` where there is no path.
        path_codes: ``(G, D)`` class codes there, from the image's own to the reference.
        path_images: ``(G, C, H, W)`` images there.
        path_probabilities: ``(G, K)`` probabilities of the classifier for them.
        boundary: position at which the target is reached, in (0, 1]; None unless found.
        boundary_probabilities: ``(K,)`` probabilities for the counterfactual; None unless found.
        margin: of the target's probability over every other one, at the counterfactual, or at ``closest``.
        overshoot: how much further than asked the margin is; None unless found.
        overshoot_without_bisection: the same at the point of the grid that first reaches the target.
        sign_changes: how often the target is reached or lost between points of the path; above 1, a crossing shorter
            than a step may also have been missed.
        difference: ``(C, H, W)`` in [-1, 1], signed: counterfactual minus original (residual) or minus reconstruction
            (decoded); averaged over several references, their mean. None unless found.
        difference_std: ``(C, H, W)`` standard deviation over references; None unless two or more were found.
        averaged: number of references whose differences were averaged.
        diversity: mean absolute difference between the counterfactuals towards them; None of fewer than two.
        reference_ids: ids of the training images that paths led to (of all averaged, or of the path's alone).
        classifier_evaluations: images that were classified for this one, the original included.
        decoder_evaluations: images that were decoded for this one.
        seconds: wall time of the search for its batch, divided by the images in it.
        seed: of the search.
        fingerprint: of the options and of the models behind the manifold.
        regions: ``(H, W)`` uint8, which region of the change at the end of the path each pixel belongs to
            (``cae.counterfactuals.regions``); None without a path, and of files of former versions.
        region_effects: ``(R, 2)``, of the R regions: what each moves the classifier by alone, and by how much less all
            others do, as shares of what the whole change does.
    """

    id: str
    classes: tuple[str, ...]
    source: int
    target: int
    status: str
    reason: str
    output: str
    original: Tensor
    reconstruction: Tensor
    counterfactual: Tensor | None
    closest: Tensor | None
    tau: Tensor
    path_codes: Tensor
    path_images: Tensor
    path_probabilities: Tensor
    boundary: float | None
    boundary_probabilities: Tensor | None
    margin: float | None
    overshoot: float | None
    overshoot_without_bisection: float | None
    sign_changes: int
    difference: Tensor | None
    difference_std: Tensor | None
    averaged: int
    diversity: float | None
    reference_ids: tuple[str, ...]
    classifier_evaluations: int
    decoder_evaluations: int
    seconds: float
    seed: int
    fingerprint: str
    regions: Tensor | None = None
    region_effects: Tensor | None = None

    @property
    def found(self) -> bool:
        """Whether there is a counterfactual."""
        return self.status == "found"

    @property
    def source_class(self) -> str:
        """Name of the class predicted for the original."""
        return self.classes[self.source]

    @property
    def target_class(self) -> str:
        """Name of the class to be reached."""
        return self.classes[self.target]

    @property
    def saliency(self) -> Tensor | None:
        """``(1, H, W)``: size of the difference, summed over channels."""
        return None if self.difference is None else self.difference.abs().sum(0, keepdim=True)

    @property
    def has_path(self) -> bool:
        """Whether a path was followed, with or without success."""
        return len(self.tau) > 1

    @property
    def end(self) -> Tensor | None:
        """``(C, H, W)`` image at the end of the path, well beyond the boundary; None where there is no path."""
        return self.path_images[-1] if self.has_path else None

    @cached_property
    def evidence(self) -> Tensor | None:
        """``(1, H, W)``: where the class lies: energy of the change, at the end of the path, as whole regions.

        The counterfactual itself is barely over the boundary, and what it changes is faint. Regions that neither move
        the classifier alone nor are missed by it are left out. None where there is no path; there also where no
        counterfactual was found.
        """
        if not self.has_path:
            return None
        # the path starts at the original (residual) or at the reconstruction (decoded)
        whole = evidence_map(self.path_images[-1] - self.path_images[0])
        if self.regions is None or self.regions_kept is None:
            return whole
        return whole * self.regions_kept[self.regions.long()]

    @property
    def regions_kept(self) -> Tensor | None:
        """``(R,)`` bool: which regions of the change are evidence; None where they were not judged."""
        return None if self.region_effects is None else kept_regions(self.region_effects)

    @property
    def added(self) -> Tensor | None:
        """``(1, H, W)``: by how much the change brightens, in the mean of the channels."""
        return None if self.difference is None else self.difference.mean(0, keepdim=True).clamp_min(0)

    @property
    def removed(self) -> Tensor | None:
        """``(1, H, W)``: by how much the change darkens, in the mean of the channels; not negative."""
        return None if self.difference is None else (-self.difference.mean(0, keepdim=True)).clamp_min(0)

    @property
    def confidence(self) -> Tensor | None:
        """``(C, H, W)``: mean difference over its standard deviation among references; None unless averaged."""
        if self.difference is None or self.difference_std is None:
            return None
        return self.difference.abs() / (self.difference_std + 1e-6)

    @property
    def reconstruction_error(self) -> Tensor:
        """``(C, H, W)``: what the autoencoder loses of the original; no part of the explanation."""
        return (self.reconstruction - self.original).abs()

    def save(self, path: str | Path) -> None:
        """Write every field to one ``.safetensors`` file, atomically; ``load`` is the exact inverse (on the CPU)."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        tensors = {name: value for name, value in values.items() if isinstance(value, Tensor)}
        plain = {name: value for name, value in values.items() if name not in tensors}
        write_tensors(path, tensors, "counterfactual", {"format": FORMAT, **plain})

    @classmethod
    def load(cls, path: str | Path) -> Counterfactual:
        """Read what ``save`` wrote.

        Raises:
            UserError: if there is no such file, or it is not a counterfactual.
        """
        header, tensors = read_saved(path, "counterfactual", FORMAT)
        del header["format"]
        plain = {name: tuple(value) if isinstance(value, list) else value for name, value in header.items()}
        values: dict[str, Any] = plain | tensors
        return cls(**values)

    def show(self, frames: int = 7, mask: Tensor | None = None) -> None:
        """Show the traversal strip in a window of matplotlib, or in the output of a notebook.

        Args:
            frames: of the path.
            mask: ``(1, H, W)`` bool, where the class is known to show, outlined on the evidence.
        """
        from cae.canvas import show_picture
        from cae.counterfactuals.figures import strip_picture

        show_picture(strip_picture(self, frames, mask))

    def _repr_png_(self) -> bytes:
        from cae.canvas import png_bytes
        from cae.counterfactuals.figures import strip_picture

        return png_bytes(strip_picture(self))
