"""The files that a traversal writes of each result, and whether those of an earlier call are still there."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from cae.config import TraverseConfig
from cae.counterfactuals.export import save_images
from cae.counterfactuals.figures import traversal_gif, traversal_strip
from cae.counterfactuals.result import Counterfactual
from cae.files import file_name
from cae.tables.index import Files, IndexRow


@dataclass(frozen=True)
class OutputFiles:
    """Files below ``folder``: strips and GIFs of the images that are pictured, saved images and tensors of all."""

    folder: Path
    options: TraverseConfig

    def write(self, result: Counterfactual, mask: Tensor | None, pictured: bool) -> Files:
        """Write the files of one result.

        Args:
            result: of any status.
            mask: ``(1, H, W)`` bool, where the class is known to show, or None.
            pictured: whether strip and GIF are wanted of this image, if of any.
        """
        options, id, target = self.options, file_name(result.id), file_name(result.target_class)
        picture = f"{id}-{file_name(result.source_class)}-to-{target}"
        strip = f"strips/{picture}.png" if options.strips and pictured else None
        gif = f"gifs/{picture}.gif" if options.gif and pictured else None
        tensors = f"tensors/{id}_to_{target}.safetensors" if options.save == "all" else None
        if strip:
            traversal_strip(result, self.folder / strip, options.frames, mask)
        if gif:
            traversal_gif(result, self.folder / gif)
        if tensors:
            result.save(self.folder / tensors)
        saved = save_images(result, self.folder / "images", f"{id}_to_{target}") if options.save != "none" else {}
        images = {f"{kind}_image": path.relative_to(self.folder).as_posix() for kind, path in saved.items()}
        return Files(strip=strip, gif=gif, tensors=tensors, **images)

    def complete(self, row: IndexRow, pictured: bool) -> bool:
        """Whether every file that this call would write for a row is there."""
        options = self.options
        images, path = options.save != "none", row.end_l1 is not None
        files = (
            (row.strip, options.strips and pictured),
            (row.gif, options.gif and pictured),
            (row.counterfactual_image, images and row.found),
            (row.end_image, images and path),
            (row.evidence_image, images and path),
            (row.tensors, options.save == "all"),
        )
        return all(name is not None and (self.folder / name).exists() for name, wanted in files if wanted)
