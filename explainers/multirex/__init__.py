"""MultiReX: every sufficient explanation of an image, minimal and certified, from forward passes alone."""

from explainers.multirex.explainer import MultiReX
from explainers.multirex.figures import multirex_figure
from explainers.multirex.record import select
from explainers.multirex.reference import MultiReXReference
from explainers.multirex.rows import table_rows, write_cut_outs

__all__ = ["MultiReX", "MultiReXReference", "multirex_figure", "select", "table_rows", "write_cut_outs"]
