"""The classifier to be explained, whatever it is made of, behind one frozen face."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from cae.classifiers.black_box import OnnxScores, call_function
from cae.classifiers.class_names import names_of
from cae.classifiers.features import features_from, find_features
from cae.classifiers.gradients import check_gradients
from cae.classifiers.identity import answers_digest, callable_name, own_copy, probe_images, state_digest
from cae.classifiers.onnx_runtime import OnnxForward
from cae.classifiers.outputs import (
    checked_rows,
    doubt_of_company,
    doubt_of_probabilities,
    doubt_of_sameness,
    ending_of,
    log_probabilities,
    look_like_shares,
    output_kind,
    select_output,
)
from cae.classifiers.preprocessing import Numbers, Preprocessing, remedy
from cae.errors import NotFiniteError, UserError

SCORES = ("auto", "logits", "probabilities")


def input_channels(network: Any) -> int | None:
    """Channels that a network wants: those of its first convolution, or None where it has none."""
    if not isinstance(network, nn.Module):
        return None
    for part in network.modules():
        if isinstance(part, nn.Conv2d):
            return part.in_channels
    # the convolutions of a TorchScript module are known by their weights alone
    kernels = [weight for weight in network.state_dict().values() if weight.ndim == 4]
    return kernels[0].shape[1] if kernels and kernels[0].shape[1] in (1, 3) else None


class TargetClassifier(nn.Module):
    """Any classifier of images, frozen and always in evaluation mode.

    Args:
        network: an ``nn.Module`` from ``(B, C, H, W)`` to logits ``(B, K)``, or any callable from a NumPy array
            ``(B, C, H, W)`` float32 to scores ``(B, K)`` or ``(B,)``. A module is copied. Of several outputs, that
            named ``logits``, ``out`` or ``output`` counts, else the one as wide as the classes.
        classes: names of the K classes, in the order of the scores; or by their numbers, or a file of them.
        image_shape: ``(C, H, W)`` of the images, in [0, 1].
        input_size: side in pixels that the network wants; by default the images keep their size.
        mean: per-channel mean for normalisation, on [0, 1]; empty for none.
        std: per-channel standard deviation for the same.
        differentiable: False for a module whose gradients must not be used. Callables never have gradients.
        network_channels: channels that the network wants; by default those of the images where it takes them, else
            those of its first convolution.
        scores: ``logits``, ``probabilities``, or ``auto``: what the scores of five images look like. Those that sum to
            1 are probabilities, and so is a single one in [0, 1] of a callable or a file, or behind a sigmoid.
        order: the output that stands for each of ``classes``, where that is not their own order.
        identity: further words or digests that the fingerprint covers, such as that of the file.

    A network of a single score ``z`` for two classes counts as logits ``(0, z)``, and of a single probability ``p`` as
    ``(1 - p, p)``. ``evaluations`` counts the images scored so far.

    Raises:
        UserError: if the network cannot take the images, or gives another number of scores than there are classes.
    """

    def __init__(
        self,
        network: nn.Module | Callable[[np.ndarray], Any],
        classes: Sequence[str] | Mapping[int, str] | str | Path,
        *,
        image_shape: tuple[int, int, int],
        input_size: int | None = None,
        mean: Numbers = (),
        std: Numbers = (),
        differentiable: bool = True,
        network_channels: int | None = None,
        scores: str = "auto",
        order: Sequence[int] = (),
        identity: str = "",
    ):
        super().__init__()
        classes = names_of(classes)
        if len(classes) < 2:
            raise UserError(f"A classifier needs at least two classes to explain, but has {list(classes)}.")
        if scores not in SCORES:
            raise UserError(f"`classifier.scores` must be one of {', '.join(SCORES)}, but is {scores!r}.")
        self.network = own_copy(network)
        self.classes = classes
        self.image_shape = image_shape[0], image_shape[1], image_shape[2]
        self.is_black_box = not isinstance(network, nn.Module)
        self.differentiable = differentiable and not self.is_black_box
        self.evaluations = 0
        size = (input_size, input_size) if input_size else (self.image_shape[1], self.image_shape[2])
        self.input_size = size[1]
        self.order = tuple(order)
        self._identity = identity + (repr(self.order) if order else "")
        self._feature_source: str | None = None
        self._onnx: OnnxForward | None = None
        self.requires_grad_(False).eval()
        own, first = self.image_shape[0], input_channels(network)
        channels = [network_channels] if network_channels else list(dict.fromkeys([own, first or own]))
        blanks = self._try_out(channels, size, mean, std)
        self.scores = scores
        self._examine(blanks)
        self.eval()  # the preprocessing too, which the trial has chosen

    def train(self, mode: bool = True) -> TargetClassifier:
        """Stay in evaluation mode, whatever ``mode`` says: a target that learns is no target."""
        return super().train(False)

    def forward(self, images: Tensor) -> Tensor:
        """The same as ``logits``."""
        return self.logits(images)

    def logits(self, images: Tensor, by_module: bool = False) -> Tensor:
        """Logits ``(B, K)`` of images ``(B, C, H, W)`` in [0, 1]; logarithms where the network gives probabilities.

        ``by_module`` has PyTorch compute even where ``compute_with_onnx`` was asked for: hooks see nothing of ONNX.
        """
        logits = self._as_logits(self._raw(self._input(images), by_module))
        return logits[:, self.order] if self.order else logits

    def probabilities(self, images: Tensor) -> Tensor:
        """Class probabilities ``(B, K)`` of images ``(B, C, H, W)`` in [0, 1]."""
        return self.logits(images).softmax(1)

    def compute_with_onnx(self) -> TargetClassifier:
        """Compute with ONNX Runtime wherever no gradient is asked for and images are on the CPU; returns itself.

        Raises:
            UserError: if the network is no PyTorch module, or cannot be exported.
        """
        if not isinstance(self.network, nn.Module):
            raise UserError(f"`classifier.runtime=onnx` is for PyTorch networks, but {self._name()} is a black box.")
        blank = torch.zeros(1, self.preprocess.channels, *self.preprocess.size)
        self._onnx = OnnxForward(self.network, blank.to(self._dtype()))
        return self

    def features(self, images: Tensor) -> Tensor:
        """Penultimate features ``(B, F)`` of images ``(B, C, H, W)`` in [0, 1].

        Taken from the network's own ``features`` method, from timm's ``forward_head(pre_logits=True)``, or from the
        input of the last linear layer, whichever is there first; of a network with none of them, the logits.
        """
        inputs = self._input(images)
        if self._feature_source is None:
            self._settle()
            self._feature_source = find_features(self.network, inputs[:1]) or "logits"
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.differentiable):
            if self._feature_source == "logits":
                features = self._as_logits(self._raw(inputs))
            else:
                self._settle()
                features = features_from(self._feature_source, self.network, inputs)
        return features if features.dtype == torch.float64 else features.float()

    def require_gradients(self, what: str) -> None:
        """Raise a UserError in words if this classifier has no gradients; ``what`` names the method that needs them."""
        if self.differentiable:
            noise = probe_images(self.image_shape)[:1].to(self.preprocess.mean.device)
            check_gradients(lambda images: self._as_logits(self._raw(self._prepared(images))), noise, self._name())
            return
        kind = "a black-box classifier" if self.is_black_box else "a classifier declared as not differentiable"
        raise UserError(
            f"{what} needs gradients of the classifier, which {kind} ({self._name()}) cannot give; use a method that "
            "only asks for scores, or give the classifier as a PyTorch network. To train a CAE against it, set "
            "`cae.black_box=true`."
        )

    def fingerprint(self) -> str:
        """16 hexadecimal digits that change with the weights, the class names or the preprocessing.

        Of a Python function, which has no weights to read, its answers to fixed images count instead.
        """
        if isinstance(self.network, nn.Module):
            weights = state_digest(self.network)
        else:
            weights = callable_name(self.network)
        if self.is_black_box and not isinstance(self.network, OnnxScores):
            weights += answers_digest(self._answers)
        words = [weights, *self.classes, self.preprocess.description(), self.scores, self._identity]
        return hashlib.sha256("\n".join(words).encode()).hexdigest()[:16]

    def _name(self) -> str:
        return type(self.network).__name__ if isinstance(self.network, nn.Module) else callable_name(self.network)

    def _input(self, images: Tensor) -> Tensor:
        """Checked, counted and preprocessed images, in the number type of the network."""
        channels = self.image_shape[0]
        if images.ndim != 4 or images.shape[1] != channels:
            raise UserError(f"Images must be (B, {channels}, H, W), but are {tuple(images.shape)}.")
        if not images.is_floating_point():
            raise UserError(f"Images must be floats in [0, 1], but are {images.dtype}; divide 8-bit images by 255.")
        self.evaluations += len(images)
        return self._prepared(images)

    def _prepared(self, images: Tensor) -> Tensor:
        """What the network is given: memory of its own, for networks that write into their input."""
        inputs = self.preprocess(images).to(self._dtype())
        shared = inputs.data_ptr() == images.data_ptr() or 0 in inputs.stride()
        return inputs.clone() if shared else inputs

    def _settle(self) -> None:
        """Put the network back into evaluation mode, should anyone have changed that."""
        if isinstance(self.network, nn.Module) and any(part.training for part in self.network.modules()):
            self.network.eval()

    def _dtype(self) -> torch.dtype:
        weights = self.network.parameters() if isinstance(self.network, nn.Module) else iter(())
        return next((weight.dtype for weight in weights if weight.is_floating_point()), torch.float32)

    def _raw(self, inputs: Tensor, by_module: bool = False) -> Tensor:
        """What the network gives for preprocessed images, ``(B, K)`` or ``(B, 1)``, in single precision or better."""
        if self._onnx is not None and not by_module and inputs.device.type == "cpu" and not torch.is_grad_enabled():
            output = self._onnx(inputs)
        elif isinstance(self.network, nn.Module):
            self._settle()
            with torch.set_grad_enabled(torch.is_grad_enabled() and self.differentiable):
                output = select_output(self.network(inputs), len(self.classes))
        else:
            output = call_function(self.network, inputs, self.classes, by_name=not self.order)
        return checked_rows(output, len(inputs), self.classes, self._name())

    def _as_logits(self, rows: Tensor) -> Tensor:
        """Logits ``(B, K)`` from raw scores, checked for values that no softmax survives."""
        # on an accelerator the checks wait for the device, so they are left out where gradients flow: in training steps
        checked = rows.device.type == "cpu" or not torch.is_grad_enabled()
        if checked and not bool((rows < torch.inf).all()):
            raise NotFiniteError(
                f"The classifier {self._name()} gave NaN or infinite scores: check its weights and input."
            )
        if self.scores == "logits":
            return torch.cat([torch.zeros_like(rows), rows], 1) if rows.shape[1] == 1 else rows
        if checked and not bool(look_like_shares(rows)):
            raise UserError(
                f"The classifier {self._name()} gave probabilities outside [0, 1], from {rows.min():.3g} to "
                f"{rows.max():.3g}; set `classifier.scores=logits` if it gives logits."
            )
        return log_probabilities(rows)

    def _try_out(self, channels: Sequence[int], size: tuple[int, int], mean: Numbers, std: Numbers) -> Tensor:
        """Score two blank images with the first number of channels that serves, so that a misfit shows at once."""
        blanks = torch.stack([torch.zeros(self.image_shape), torch.full(self.image_shape, 0.5)])
        for place, count in enumerate(channels):
            try:
                self.preprocess = Preprocessing(count, size, mean, std)
                return self._probe(blanks, "blank images")
            except UserError:
                if place == len(channels) - 1:
                    raise
        raise ValueError("no number of channels to try")

    @torch.no_grad()
    def _probe(self, images: Tensor, what: str) -> Tensor:
        """Raw scores of images that are not counted, with whatever goes wrong in words."""
        try:
            return self._raw(self._on_device(images))
        except UserError:
            raise
        except Exception as error:  # whatever a foreign network raises, the user hears what it was given
            shape = (len(images), self.preprocess.channels, *self.preprocess.size)
            raise UserError(
                f"The classifier {self._name()} failed on {what} of shape {shape}: {error}.{remedy(error, shape)}"
            ) from error

    def _on_device(self, images: Tensor) -> Tensor:
        """Preprocessed images where the network is."""
        device = images.device if self.is_black_box else next(self.network.parameters(), images).device
        self.preprocess.to(device)
        return self._prepared(images.to(device))

    def _examine(self, blanks: Tensor) -> None:
        """Tell logits from probabilities, and warn of what is doubtful; ``blanks`` are scores of blank images."""
        images = probe_images(self.image_shape)
        together, alone = self._probe(images, "images of noise"), self._probe(images[:1], "an image of noise")
        rows = torch.cat([blanks, together])
        doubts = [doubt_of_company(together[:1], alone), doubt_of_sameness(rows)]
        if self.scores == "auto":
            foreign = self.is_black_box or isinstance(self.network, torch.jit.ScriptModule)
            end = "unknown" if foreign else ending_of(self.network, self._on_device(images[:1]), len(self.classes))
            self.scores, doubt = output_kind(rows, end, foreign)
            doubts.append(doubt)
        elif self.scores == "probabilities":
            doubts.append(doubt_of_probabilities(rows))
        for doubt in filter(None, doubts):
            warnings.warn(f"The classifier {self._name()}: {doubt}.", stacklevel=4)
        self._as_logits(blanks)
        self._answers = self._as_logits(together).softmax(1)
