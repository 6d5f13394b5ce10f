"""MultiReX: every sufficient explanation of an image, minimal and certified, from forward passes alone."""

from explainers.multirex.explainer import MultiReX
from explainers.multirex.export import table_rows, write_cut_outs
from explainers.multirex.extras import select
from explainers.multirex.figures import multirex_figure
from explainers.multirex.published import PublishedMultiReX

__all__ = ["MultiReX", "PublishedMultiReX", "multirex_figure", "select", "table_rows", "write_cut_outs"]
