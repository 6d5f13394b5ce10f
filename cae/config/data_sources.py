"""Every data source by its name: the choices of ``data.source``; a new one is a line here, a file in `cae/data`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class DataSource:
    """Where a source is opened (``module:function``, imported when asked for), and what ``data.path`` must be.

    The function takes the section ``data`` of the configuration and gives ``cae.data.Splits``. An empty ``path`` stands
    for a source that needs none.
    """

    place: str
    path: str = ""


SOURCES = {
    "lesions": DataSource("cae.data.lesions:open_lesions"),
    "folder": DataSource("cae.data.folder:open_folder", "a folder of images"),
    "paired": DataSource(
        "cae.data.paired:open_paired", "the folder that holds trainA_img, trainB_img, testA_img and testB_img"
    ),
    "table": DataSource("cae.data.table:open_table", "a .csv or .parquet file"),
    "medmnist": DataSource("cae.data.medmnist:open_medmnist", "an .npz file"),
    "digits": DataSource("cae.data.digits:open_digits"),
}
