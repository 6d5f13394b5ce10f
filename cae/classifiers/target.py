"""The classifier to be explained, whatever it is made of, behind one frozen face."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from cae.classifiers.onnx_runtime import OnnxForward
from cae.classifiers.preprocessing import Preprocessing
from cae.errors import NotFiniteError, UserError

SMALLEST_PROBABILITY = 1e-12  # where probabilities become logits
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


def state_digest(network: nn.Module) -> str:
    """SHA-256 over names, types, shapes and bytes of a network's state, in the order of the names."""
    digest = hashlib.sha256()
    for name, tensor in sorted(network.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _callable_name(function: Any) -> str:
    """Module and name of a function, or of the class of a callable object."""
    named = function if hasattr(function, "__qualname__") else type(function)
    return f"{named.__module__}.{named.__qualname__}"


def _as_tensor(output: Any) -> Any:
    """The scores inside what a network returns: a tensor, ``.logits``, the first of a tuple, or a dict's entry."""
    if isinstance(output, dict):
        return output.get("logits", next(iter(output.values())))
    if isinstance(output, (tuple, list)):
        return output[0]
    return getattr(output, "logits", output)


class TargetClassifier(nn.Module):
    """Any classifier of images, frozen and always in evaluation mode.

    Args:
        network: an ``nn.Module`` from ``(B, C, H, W)`` to logits ``(B, K)``, or any callable from a NumPy array
            ``(B, C, H, W)`` float32 to scores ``(B, K)`` or ``(B,)``. A module is frozen in place.
        classes: names of the K classes, in the order of the scores.
        image_shape: ``(C, H, W)`` of the images, in [0, 1].
        input_size: side in pixels that the network wants; by default the images keep their size.
        mean: per-channel mean for normalisation, on [0, 1]; empty for none.
        std: per-channel standard deviation for the same.
        differentiable: False for a module whose gradients must not be used. Callables never have gradients.
        network_channels: channels that the network wants; by default those of its first convolution.
        scores: ``logits``, ``probabilities``, or ``auto``: modules give logits; callables and TorchScript files give
            probabilities if their scores of two blank images look like it (each sums to 1, or one score in [0, 1]).
        identity: further words or digests that the fingerprint covers, such as that of the file.

    A network of a single score ``z`` for two classes counts as logits ``(0, z)``, and of a single probability ``p`` as
    ``(1 - p, p)``. ``evaluations`` counts the images scored so far.

    Raises:
        UserError: if the network cannot take the images, or gives another number of scores than there are classes.
    """

    def __init__(
        self,
        network: nn.Module | Callable[[np.ndarray], Any],
        classes: Sequence[str],
        *,
        image_shape: tuple[int, int, int],
        input_size: int | None = None,
        mean: Sequence[float] = (),
        std: Sequence[float] = (),
        differentiable: bool = True,
        network_channels: int | None = None,
        scores: str = "auto",
        identity: str = "",
    ):
        super().__init__()
        if len(classes) < 2:
            raise UserError(f"A classifier needs at least two classes to explain, but has {list(classes)}.")
        if scores not in SCORES:
            raise UserError(f"`classifier.scores` must be one of {', '.join(SCORES)}, but is {scores!r}.")
        self.network = network
        self.classes = tuple(classes)
        self.image_shape = tuple(image_shape)
        self.is_black_box = not isinstance(network, nn.Module)
        self.differentiable = differentiable and not self.is_black_box
        self.evaluations = 0
        size = (input_size, input_size) if input_size else (self.image_shape[1], self.image_shape[2])
        self.input_size = size[1]
        channels = network_channels or input_channels(network) or self.image_shape[0]
        self.preprocess = Preprocessing(channels, size, mean, std)
        self._identity = identity
        self._feature_source: str | None = None
        self._onnx: OnnxForward | None = None
        self.requires_grad_(False)
        self.eval()
        self.scores = self._try_out(scores)

    def train(self, mode: bool = True) -> TargetClassifier:
        """Stay in evaluation mode, whatever ``mode`` says: a target that learns is no target."""
        return super().train(False)

    def forward(self, images: Tensor) -> Tensor:
        """The same as ``logits``."""
        return self.logits(images)

    def logits(self, images: Tensor) -> Tensor:
        """Logits ``(B, K)`` of images ``(B, C, H, W)`` in [0, 1]; logarithms where the network gives probabilities."""
        return self._as_logits(self._raw(self._input(images)))

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
            self._feature_source = self._find_features(inputs)
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.differentiable):
            features = self._features_from(self._feature_source, inputs)
        return features if features.dtype == torch.float64 else features.float()

    def require_gradients(self, what: str) -> None:
        """Raise a UserError in words if this classifier has no gradients; ``what`` names the method that needs them."""
        if self.differentiable:
            return
        kind = "a black-box classifier" if self.is_black_box else "a classifier declared as not differentiable"
        raise UserError(
            f"{what} needs gradients of the classifier, which {kind} ({self._name()}) cannot give; use a method that "
            "only asks for scores, or give the classifier as a PyTorch network. To train a CAE against it, set "
            "`cae.black_box=true`."
        )

    def fingerprint(self) -> str:
        """16 hexadecimal digits that change with the weights, the class names or the preprocessing."""
        if isinstance(self.network, nn.Module):
            weights = state_digest(self.network)
        else:
            weights = _callable_name(self.network)
        words = [weights, *self.classes, self.preprocess.description(), self.scores, self._identity]
        return hashlib.sha256("\n".join(words).encode()).hexdigest()[:16]

    def _name(self) -> str:
        return type(self.network).__name__ if isinstance(self.network, nn.Module) else _callable_name(self.network)

    def _input(self, images: Tensor) -> Tensor:
        """Checked, counted and preprocessed images, in the number type of the network."""
        channels = self.image_shape[0]
        if images.ndim != 4 or images.shape[1] != channels:
            raise UserError(f"Images must be (B, {channels}, H, W), but are {tuple(images.shape)}.")
        if not images.is_floating_point():
            raise UserError(f"Images must be floats in [0, 1], but are {images.dtype}; divide 8-bit images by 255.")
        self.evaluations += len(images)
        return self.preprocess(images).to(self._dtype())

    def _dtype(self) -> torch.dtype:
        weights = self.network.parameters() if isinstance(self.network, nn.Module) else iter(())
        return next((weight.dtype for weight in weights if weight.is_floating_point()), torch.float32)

    def _raw(self, inputs: Tensor) -> Tensor:
        """What the network gives for preprocessed images, ``(B, K)`` or ``(B, 1)``, in single precision or better."""
        if self._onnx is not None and inputs.device.type == "cpu" and not torch.is_grad_enabled():
            output = self._onnx(inputs)
        elif isinstance(self.network, nn.Module):
            with torch.set_grad_enabled(torch.is_grad_enabled() and self.differentiable):
                output = _as_tensor(self.network(inputs))
        else:
            # a copy: a user's function may write into its argument
            array = np.array(inputs.detach().cpu().numpy(), dtype=np.float32, order="C")
            output = torch.as_tensor(np.asarray(self.network(array), dtype=np.float32), device=inputs.device)
        return self._checked_shape(output, len(inputs))

    def _checked_shape(self, output: Any, batch: int) -> Tensor:
        """Scores as ``(B, K)`` or ``(B, 1)`` floats, or an error that names the two numbers of classes."""
        if not isinstance(output, Tensor) or output.ndim == 0 or len(output) != batch:
            shape = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
            raise UserError(f"The classifier {self._name()} must give {batch} rows of scores, but gave {shape}.")
        rows = output.flatten(1) if output.ndim > 1 else output[:, None]
        count, wanted = rows.shape[1], len(self.classes)
        if count != wanted and not (count == 1 and wanted == 2):
            raise UserError(
                f"The classifier gives {count} score(s), but the data has {wanted} classes "
                f"({', '.join(self.classes)}): "
                "use one trained on these classes."
            )
        return rows if rows.dtype in (torch.float32, torch.float64) else rows.float()

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
        if checked and not bool(_look_like_shares(rows)):
            raise UserError(
                f"The classifier {self._name()} gave probabilities outside [0, 1], from {rows.min():.3g} to "
                f"{rows.max():.3g}; set `classifier.scores=logits` if it gives logits."
            )
        rows = torch.cat([1 - rows, rows], 1) if rows.shape[1] == 1 else rows
        rows = rows.clamp_min(SMALLEST_PROBABILITY)
        return (rows / rows.sum(1, keepdim=True)).log()

    def _try_out(self, scores: str) -> str:
        """Score two blank images, so that a misfit shows at once, and tell logits from probabilities."""
        blanks = torch.stack([torch.zeros(self.image_shape), torch.full(self.image_shape, 0.5)])
        blanks = blanks.to(next(self.parameters(), blanks).device)
        with torch.no_grad():
            try:
                self.preprocess.to(blanks.device)
                rows = self._raw(self.preprocess(blanks).to(self._dtype()))
            except UserError:
                raise
            except Exception as error:  # whatever a foreign network raises, the user hears what it was given
                shape = (2, self.preprocess.channels, *self.preprocess.size)
                raise UserError(
                    f"The classifier {self._name()} failed on blank images of shape {shape}: {error}. "
                    "Set `classifier.input_size` (and `classifier.channels`) to what it was trained with."
                ) from error
        guess = self.is_black_box or isinstance(self.network, torch.jit.ScriptModule)
        self.scores = scores if scores != "auto" else _guess_scores(rows) if guess else "logits"
        self._as_logits(rows)
        return self.scores

    def _find_features(self, inputs: Tensor) -> str:
        """Which of the known ways to penultimate features works on this network."""
        for source in ("timm", "method", "linear"):
            with torch.no_grad():
                try:
                    found = self._features_from(source, inputs[:1])
                except Exception:  # foreign networks may have anything under these names
                    continue
            if isinstance(found, Tensor) and found.ndim == 2:
                return source
        return "logits"

    def _features_from(self, source: str, inputs: Tensor) -> Tensor:
        network: Any = self.network
        if source == "timm":
            return network.forward_head(network.forward_features(inputs), pre_logits=True)
        if source == "method":
            return network.features(inputs)
        if source == "linear":
            return _input_of_last_linear(network, inputs)
        return self._as_logits(self._raw(inputs))


def _input_of_last_linear(network: nn.Module, inputs: Tensor) -> Tensor:
    """What the last ``nn.Linear`` of a network is given."""
    last = [part for part in network.modules() if isinstance(part, nn.Linear)][-1]
    seen: list[Tensor] = []
    handle = last.register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0]))
    try:
        network(inputs)
    finally:
        handle.remove()
    return seen[-1]


def _look_like_shares(rows: Tensor, tolerance: float = 1e-3) -> Tensor:
    """Whether scores are all in [0, 1] (a scalar tensor)."""
    return ((rows >= -tolerance) & (rows <= 1 + tolerance)).all()


def _guess_scores(rows: Tensor, tolerance: float = 1e-3) -> str:
    """``probabilities`` where all rows ``(B, K)`` sum to 1, or a single score is in [0, 1]; otherwise ``logits``."""
    shares = bool(_look_like_shares(rows))
    sums = rows.shape[1] == 1 or bool(((rows.sum(1) - 1).abs() < tolerance).all())
    return "probabilities" if shares and sums else "logits"
