"""What stands where pixels are removed.

Two families share one table of names (``INFILLS``): a fill gives what stands in any mask, a ``Sampler`` draws square
windows given the rest of the image. ``fill_image`` makes one image from whatever an option ``fill`` may hold.
"""

from explainers.infills.base import Sampler
from explainers.infills.catalogue import INFILLS, SAMPLERS, InFill, build_fill, build_sampler
from explainers.infills.fills import Fill, everywhere, without
from explainers.infills.gaussian import Gaussian
from explainers.infills.simple import Blur, FunctionSampler, Gray, Marginal, MaskedBlur
from explainers.infills.whole_image import FillOption, fill_image

__all__ = [
    "INFILLS",
    "SAMPLERS",
    "Blur",
    "Fill",
    "FillOption",
    "FunctionSampler",
    "Gaussian",
    "Gray",
    "InFill",
    "Marginal",
    "MaskedBlur",
    "Sampler",
    "build_fill",
    "build_sampler",
    "everywhere",
    "fill_image",
    "without",
]
