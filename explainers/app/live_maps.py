"""Maps of explainers for visitors of the app: one at a time, by a classifier that nobody else asks meanwhile."""

from __future__ import annotations

import contextvars
import copy
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from torch import Tensor

from cae.classifiers import TargetClassifier
from cae.errors import UserError
from explainers.base import Explainer
from explainers.explanation import Explanation

EVERY = 0.3  # seconds between two words on how far a map is

Make = Callable[[str, TargetClassifier], Explainer]  # from the name of a method
Told = Callable[[int], None]  # from the number of images scored so far


class LiveMaps:
    """Explains single images by the methods that are offered; each is made when it is first asked for.

    Gradient methods hook into the network, and the cost of a map is counted by the classifier: a visitor who moves a
    slider meanwhile must meet neither. A network is therefore copied; what cannot be copied is shared in turns.

    Args:
        classifier: the classifier to explain.
        make: makes the explainer of a name.
        methods: names that are offered.
        seed: of every map.
        turn: what others hold while they ask the classifier.
    """

    def __init__(
        self, classifier: TargetClassifier, make: Make, methods: Sequence[str], seed: int, turn: threading.Lock
    ):
        alone = classifier.differentiable
        self._classifier = copy.deepcopy(classifier) if alone else classifier
        self._turn = threading.Lock() if alone else turn
        self._make, self._seed, self._made = make, seed, dict[str, Explainer]()
        self.methods = tuple(methods)

    def __call__(self, name: str, image: Tensor, told: Told = lambda scored: None) -> Explanation:
        """The map of an image ``(C, H, W)``; ``told`` hears while it is made how many images have been scored.

        Raises:
            UserError: for a method that is not offered, or one that cannot explain this image.
        """
        if name not in self.methods:
            raise UserError(f"there is no explainer {name!r} here: `methods` offers {', '.join(self.methods)}.")
        with self._turn:
            if name not in self._made:
                self._made[name] = self._make(name, self._classifier)
            with _watched(self._classifier, told):
                return self._made[name](image[None], seed=self._seed)


@contextmanager
def _watched(classifier: TargetClassifier, told: Told) -> Iterator[None]:
    """Tell every now and then how many images the classifier has scored within."""
    before, ended = classifier.evaluations, threading.Event()

    def watch() -> None:
        while not ended.wait(EVERY):
            told(classifier.evaluations - before)

    # in a copy of this context, by which Gradio knows whose progress it is
    watcher = threading.Thread(target=contextvars.copy_context().run, args=(watch,), daemon=True)
    watcher.start()
    try:
        yield
    finally:
        ended.set()
        watcher.join()
