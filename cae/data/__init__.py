"""Images with labels, ids and masks, from any of the program's sources."""

from cae.data.arrays import ArraySet
from cae.data.module import CAEDataModule
from cae.data.records import ImageFiles
from cae.data.sources import open_source
from cae.data.types import Batch, ImageSet, Sample, Splits, collate

__all__ = ["ArraySet", "Batch", "CAEDataModule", "ImageFiles", "ImageSet", "Sample", "Splits", "collate", "open_source"]
