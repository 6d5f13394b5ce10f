"""A CAE as networks of tensors alone, as other programs run them: encoder, decoder, counterfactual."""

from __future__ import annotations

from torch import Tensor, nn

from cae.models.cae import CAE
from cae.models.published import PublishedCAE


class EncoderGraph(nn.Module):
    """Images ``(B, C, H, W)`` in [0, 1] to class codes ``(B, D)`` and individual codes ``(B, S, h, w)``."""

    def __init__(self, cae: CAE | PublishedCAE):
        super().__init__()
        self.cae = cae

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Both codes."""
        codes = self.cae.encode(images)
        return codes.class_code, codes.individual_code


class DecoderGraph(nn.Module):
    """Class codes ``(B, D)`` and individual codes ``(B, S, h, w)`` to images ``(B, C, H, W)`` in [0, 1]."""

    def __init__(self, cae: CAE | PublishedCAE):
        super().__init__()
        self.cae = cae

    def forward(self, class_code: Tensor, individual_code: Tensor) -> Tensor:
        """The decoder's images."""
        return self.cae.decode(class_code, individual_code)


class CounterfactualGraph(nn.Module):
    """Images with their class code moved along the straight line to a reference, the change laid over the original.

    The same images as ``find_counterfactuals`` makes with ``output=residual`` and ``path=line``, but for its rounding
    to 8 bits. Where the classifier's decision changes, whoever runs the graph has to ask the classifier.

    Args:
        cae: the trained model.
        reference: ``(D,)`` class code of the target class.
    """

    reference: Tensor

    def __init__(self, cae: CAE | PublishedCAE, reference: Tensor):
        super().__init__()
        self.cae = cae
        self.register_buffer("reference", reference.clone())

    def forward(self, images: Tensor, position: Tensor) -> Tensor:
        """Images ``(B, C, H, W)`` in [0, 1] of images in [0, 1], at ``position (B,)`` of the way, in [0, 1]."""
        codes = self.cae.encode(images)
        moved = codes.class_code + position[:, None] * (self.reference - codes.class_code)
        if isinstance(self.cae, CAE):
            base = self.cae.base(codes.individual_code, codes.class_code)
            return self.cae.join(moved, base).onto(images).clamp(0, 1)
        before = self.cae.decode(codes.class_code, codes.individual_code)
        return (images + self.cae.decode(moved, codes.individual_code) - before).clamp(0, 1)
