"""Checkpoints of the authors' released code, ``gen_*.pt``, as a CAE of the preset ``published``.

Reference: Xie et al. 2024, arXiv:2406.07961, with the authors' code.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from cae.errors import UserError
from cae.files import check_archive, damaged
from cae.models.published import PublishedCAE

# prefix there -> prefix here; numbers of residual blocks are kept
_NAMES = (
    *((rf"enc_style\.model\.{there}\.conv", f"encoders.class_encoder.body.{2 * there}") for there in range(5)),
    (r"enc_style\.model\.5", "encoders.class_encoder.body.10"),
    *((rf"enc_content\.model\.{there}\.conv", f"encoders.individual_encoder.stem.{3 * there}") for there in range(3)),
    (r"enc_content\.model\.3\.model\.(\d+)\.model\.0\.conv", r"encoders.individual_encoder.blocks.\1.first"),
    (r"enc_content\.model\.3\.model\.(\d+)\.model\.1\.conv", r"encoders.individual_encoder.blocks.\1.second"),
    (r"dec\.model\.0\.model\.(\d+)\.model\.0\.conv", r"decoder.blocks.\1.first"),
    (r"dec\.model\.0\.model\.(\d+)\.model\.1\.conv", r"decoder.blocks.\1.second"),
    (r"dec\.model\.2\.conv", "decoder.upsampling.1"),
    (r"dec\.model\.2\.norm", "decoder.upsampling.2"),
    (r"dec\.model\.4\.conv", "decoder.upsampling.5"),
    (r"dec\.model\.4\.norm", "decoder.upsampling.6"),
    (r"dec\.model\.5\.conv", "decoder.upsampling.8"),
    *((rf"mlp\.model\.{there}\.fc", f"decoder.mlp.{2 * there}") for there in range(3)),
)
_LEAVES = {"weight": "weight", "bias": "bias", "gamma": "gain", "beta": "bias"}
_UNUSED = ("running_mean", "running_var")  # of the released AdaIN, which never reads them


def load_released(path: str | Path, image_shape: tuple[int, int, int]) -> PublishedCAE:
    """A checkpoint of the released code's generator, with the sizes that its weights have, in evaluation mode.

    Args:
        path: a ``gen_*.pt`` file; no code in it is run.
        image_shape: ``(C, H, W)`` of the images that it is to encode.

    Raises:
        UserError: if it cannot be read, is something else, or takes images of other channels.
    """
    weights = _renamed(_read(Path(path)), Path(path))
    first = weights["encoders.class_encoder.body.0.weight"]
    if first.shape[1] != image_shape[0]:
        raise UserError(
            f"'{path}' takes images of {first.shape[1]} channels, but the data has {image_shape[0]}: set "
            f"data.channels={first.shape[1]}."
        )
    blocks = sum(bool(re.fullmatch(r"decoder\.blocks\.\d+\.first\.weight", name)) for name in weights)
    class_dim = weights["encoders.class_encoder.body.10.weight"].shape[0]
    cae = PublishedCAE(image_shape, class_dim, width=first.shape[0], blocks=blocks)
    try:
        cae.load_state_dict(weights)
    except RuntimeError as error:
        raise UserError(f"'{path}' does not fit the published network: {' '.join(str(error).split())}.") from error
    return cae.eval()


def _read(path: Path) -> Mapping[str, Tensor]:
    import torch

    with damaged(path, "a checkpoint of the released code", "cae.weights may name another one"):
        if not path.is_file():
            raise OSError("there is no such file")
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                check_archive(archive)
        with path.open("rb") as file:
            content = torch.load(file, map_location="cpu", weights_only=True)
        state = content.get("ab", content)
        return {name: value for name, value in state.items() if isinstance(value, Tensor)}


def _renamed(state: Mapping[str, Tensor], path: Path) -> dict[str, Tensor]:
    """Weights by the names that ``PublishedCAE`` has for them."""
    found, unknown = {}, []
    for name, value in state.items():
        module, _, leaf = name.rpartition(".")
        places = [re.sub(there, here, module) for there, here in _NAMES if re.fullmatch(there, module)]
        if places and leaf in _LEAVES:
            found[f"{places[0]}.{_LEAVES[leaf]}"] = value
        elif leaf not in _UNUSED:
            unknown.append(name)
    if unknown or "encoders.class_encoder.body.0.weight" not in found:
        some = f"it holds {', '.join(unknown[:3])}" if unknown else "it holds no generator"
        raise UserError(f"'{path}' is no checkpoint of the released code's generator, gen_*.pt ({some}).")
    return found
