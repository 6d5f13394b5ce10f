"""The MedMNIST files: small medical images in one ``.npz`` file."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np

from cae.config import DataConfig
from cae.data.arrays import ArraySet
from cae.data.records import check_size, data_file
from cae.data.splits import SPLITS, raise_problems
from cae.data.types import Splits
from cae.errors import UserError

ORGANS = (
    "bladder", "femur-left", "femur-right", "heart", "kidney-left", "kidney-right", "liver", "lung-left", "lung-right",
    "pancreas", "spleen",
)  # fmt: skip
CLASS_NAMES = {
    "bloodmnist": (
        "basophil", "eosinophil", "erythroblast", "immature granulocytes", "lymphocyte", "monocyte", "neutrophil",
        "platelet",
    ),
    "breastmnist": ("malignant", "normal or benign"),
    "dermamnist": (
        "actinic keratoses", "basal cell carcinoma", "benign keratosis", "dermatofibroma", "melanoma",
        "melanocytic nevi", "vascular lesions",
    ),
    "octmnist": ("choroidal neovascularization", "diabetic macular edema", "drusen", "normal"),
    "organamnist": ORGANS,
    "organcmnist": ORGANS,
    "organsmnist": ORGANS,
    "pathmnist": (
        "adipose", "background", "debris", "lymphocytes", "mucus", "smooth muscle", "normal colon mucosa",
        "cancer-associated stroma", "colorectal adenocarcinoma epithelium",
    ),
    "pneumoniamnist": ("normal", "pneumonia"),
    "retinamnist": ("grade 0", "grade 1", "grade 2", "grade 3", "grade 4"),
    "tissuemnist": (
        "collecting or connecting duct", "distal convoluted tubule", "glomerular endothelial cells",
        "interstitial endothelial cells", "leukocytes", "podocytes", "proximal tubule segments", "thick ascending limb",
    ),
}  # fmt: skip


def open_medmnist(config: DataConfig) -> Splits:
    """Any 2-D MedMNIST file with one label per image, grey or RGB, of any size, with its published splits.

    The file holds ``{train,val,test}_images`` ``(N, H, W)`` or ``(N, H, W, 3)`` uint8 and ``…_labels`` ``(N, 1)`` or
    ``(N,)``. Class names follow the file name (``octmnist.npz``, ``octmnist_224.npz``), else they are ``class 0``, ….
    Ids are ``test/00012``.

    Reference: Yang et al. 2023, MedMNIST v2, arXiv:2110.14795.

    Raises:
        UserError: one that lists every missing or unfit array.
    """
    file = data_file(config, "a MedMNIST .npz file")
    arrays = _read(file, config.max_gigabytes)
    raise_problems([f"'{file}': {problem}" for split in SPLITS for problem in _problems(split, arrays)])
    sets = {split: _split(split, arrays, config) for split in SPLITS}
    names = CLASS_NAMES.get(file.stem.lower().split("_")[0])
    count = max(int(arrays[f"{split}_labels"].max(initial=0)) for split in SPLITS) + 1
    if names is not None and count > len(names):
        raise UserError(f"'{file}': labels must be in [0, {len(names)}), one for each class, but reach {count - 1}.")
    return Splits(sets["train"], sets["val"], sets["test"], names or tuple(f"class {index}" for index in range(count)))


def _read(file: Path, gigabytes: float) -> dict[str, np.ndarray]:
    """The six arrays, if they are not larger than that; pickled objects are never loaded."""
    wanted = [f"{split}_{kind}" for split in SPLITS for kind in ("images", "labels")]
    if not zipfile.is_zipfile(file):
        table = file.suffix.lower() in (".csv", ".tsv", ".parquet")
        hint = "tables are read with `data.source=table`" if table else "is it complete?"
        raise UserError(f"'{file}' is no .npz file, as MedMNIST's are: {hint}")
    try:
        with np.load(file, allow_pickle=False) as archive:
            absent = [name for name in wanted if name not in archive.files]
            if absent:
                raise ValueError(f"it has no {', '.join(absent)} (it has {', '.join(archive.files) or 'nothing'})")
            with zipfile.ZipFile(file) as packed:
                size = sum(packed.getinfo(f"{name}.npy").file_size for name in wanted)
            check_size(file, size, gigabytes)
            return {name: archive[name] for name in wanted}
    except UserError:
        raise
    except Exception as error:  # a file that is no zip archive raises one of many errors
        raise UserError(f"cannot read '{file}' as a MedMNIST file: {error}.") from error


def _problems(split: str, arrays: dict[str, np.ndarray]) -> list[str]:
    images, labels = arrays[f"{split}_images"], arrays[f"{split}_labels"]
    problems = []
    if images.ndim not in (3, 4) or (images.ndim == 4 and images.shape[-1] not in (1, 3)):
        shape = tuple(images.shape)
        problems.append(f"{split}_images must be (N, H, W) or (N, H, W, 3), not volumes, but are {shape}.")
    if images.dtype != np.uint8:
        problems.append(f"{split}_images must be uint8, but are {images.dtype}.")
    if labels.ndim == 2 and labels.shape[1] > 1:
        problems.append(
            f"{split}_labels give {labels.shape[1]} labels per image: multi-label sets such as chestmnist are not "
            "supported; write a table with one class per image (data.source=table)."
        )
        return problems
    if len(labels) != len(images) or labels.size != len(labels):
        problems.append(f"{split}_labels are {tuple(labels.shape)}, but there are {len(images)} images.")
    if not np.issubdtype(labels.dtype, np.integer):
        problems.append(f"{split}_labels must be whole numbers, but are {labels.dtype}.")
    elif labels.min(initial=0) < 0:
        problems.append(f"{split}_labels must be 0 or larger, but the least is {labels.min()}.")
    return problems


def _split(split: str, arrays: dict[str, np.ndarray], config: DataConfig) -> ArraySet:
    images, labels = arrays[f"{split}_images"], arrays[f"{split}_labels"]
    ids = [f"{split}/{index:05d}" for index in range(len(images))]
    return ArraySet.from_numpy(images, labels.reshape(-1), ids, config.image_size, config.channels)
