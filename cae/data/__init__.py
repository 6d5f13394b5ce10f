"""Images with labels, ids and masks, from any of the program's sources."""

from typing import TYPE_CHECKING

from cae.lazy import lazy_names

if TYPE_CHECKING:
    from cae.data.arrays import ArraySet
    from cae.data.module import CAEDataModule
    from cae.data.records import ImageFiles
    from cae.data.sources import open_source
    from cae.data.types import Batch, ImageSet, Sample, Splits, collate

__all__ = ["ArraySet", "Batch", "CAEDataModule", "ImageFiles", "ImageSet", "Sample", "Splits", "collate", "open_source"]

# the data module brings Lightning, which an explainer that needs only the types should not wait for
__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "ArraySet": "cae.data.arrays",
        "Batch": "cae.data.types",
        "CAEDataModule": "cae.data.module",
        "ImageFiles": "cae.data.records",
        "ImageSet": "cae.data.types",
        "Sample": "cae.data.types",
        "Splits": "cae.data.types",
        "collate": "cae.data.types",
        "open_source": "cae.data.sources",
    },
)
