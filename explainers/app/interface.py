"""The page of the app, in Gradio: what is sent and chosen, what is shown, and which answer goes where.

Everything of a visitor is in ``gradio.State``, which is that visitor's alone.
"""

from __future__ import annotations

import html
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import wraps
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from cae.canvas import DIVERGING, SEQUENTIAL, colour_mapped, tile
from cae.counterfactuals.figures import strip_picture
from cae.counterfactuals.result import Counterfactual
from cae.errors import UserError, printable
from explainers.app.downloads import Downloads
from explainers.app.engine import FURTHEST, REFERENCES, RUNNER_UP, Answer, Engine
from explainers.app.live_maps import LiveMaps
from explainers.app.uploads import Limits, read_upload

KEPT_SECONDS = 3600  # for which the work of a visitor who does nothing is kept
BUTTONS: Any = ["download", "fullscreen"]  # without that which publishes a picture
WAITING = 100  # questions in the queue; further ones are told that it is full
SHOWN = 512  # pixels of the picture on which a region is drawn


@dataclass(frozen=True, eq=False)
class Visit:
    """What one visitor has: an image, and the path that was found for it."""

    image: Tensor
    result: Counterfactual


def build_interface(engine: Engine, maps: LiveMaps, limits: Limits) -> Any:
    """The page, as ``gradio.Blocks``.

    Args:
        engine: the run that answers.
        maps: explains one image by one of the methods that are offered.
        limits: of uploads.
    """
    import gradio as gr

    page = _Page(engine, maps, limits)
    name, classes = printable(engine.run.config.name), printable(", ".join(engine.run.classes[:8]))
    title = f"{name}: what would have to change?"
    with gr.Blocks(title=title, analytics_enabled=False, delete_cache=(600, KEPT_SECONDS)) as blocks:
        gr.Markdown("# What would have to change?")
        gr.Text(f"run {name}, classes {classes}", label="Explained", show_label=False, container=False)
        visit = gr.State(None, time_to_live=KEPT_SECONDS)
        with gr.Row():
            asking, asked = _question(engine)
            shown = _path(page, visit)
        with gr.Tab("Move the class code by hand"):
            sliders = _by_hand(page, visit)
        with gr.Tab("Ask about a region"):
            editor = _region(page, visit)
        with gr.Tab("Maps"):
            _maps_of(page, visit)
        with gr.Tab("Download"):
            _download(page, visit)
        button, words = asking
        found = button.click(_told(page.explain), asked, [visit, words, *shown, editor])
        found.then(page.rest, None, sliders)
    return blocks.queue(max_size=WAITING, default_concurrency_limit=2)


def _question(engine: Engine) -> tuple[tuple[Any, Any], list[Any]]:
    """What is sent and chosen: the button with the words of the answer, and the inputs."""
    import gradio as gr

    with gr.Column(scale=1):
        # a file, not an image: Gradio would decode an image before its size is known
        upload = _sent(gr.File(label="A picture", file_count="single", file_types=["image"], type="filepath"))
        target = gr.Dropdown([(printable(name), name) for name in engine.targets], value=RUNNER_UP, label="Towards")
        reference = gr.Dropdown(list(REFERENCES), value=REFERENCES[0], label="Reference")
        button = gr.Button("Explain", variant="primary")
        words = gr.Textbox(label="Answer", interactive=False, lines=3)
    return (button, words), [upload, target, reference]


def _answers(label: str) -> list[Any]:
    """A picture, and what classifier and oracle say of it."""
    import gradio as gr

    return [
        gr.Image(label=label, interactive=False, format="png", height=300, buttons=BUTTONS),
        gr.Label(label="Classifier", num_top_classes=5),
        gr.Label(label="Oracle", num_top_classes=5),
    ]


def _path(page: _Page, visit: Any) -> list[Any]:
    """The strip, and a slider along the path."""
    import gradio as gr

    with gr.Column(scale=3):
        # no label: it would lie over the heading of the strip
        strip = gr.Image(label="The path", show_label=False, interactive=False, format="png", buttons=BUTTONS)
        slider = gr.Slider(0, 20, value=0, step=1, label="Position on the path")
        with gr.Row():
            answers = _answers("Image")
    slider.input(_told(page.frame), [visit, slider], answers, show_progress="hidden", trigger_mode="always_last")
    return [strip, slider, *answers]


def _by_hand(page: _Page, visit: Any) -> list[Any]:
    """A slider for each axis of the class code."""
    import gradio as gr

    gr.Markdown("Each slider moves along a principal axis of the class codes, in standard deviations.")
    with gr.Row():
        with gr.Column():
            names = [f"axis {number + 1}" for number in range(len(page.engine.axes))]
            sliders = [gr.Slider(-FURTHEST, FURTHEST, value=0, step=0.1, label=name) for name in names]
        answers = _answers("Image under the moved code")
    for slider in sliders:  # at every step, also of the arrow keys; those that come meanwhile are passed over
        slider.input(_told(page.moved), [visit, *sliders], answers, show_progress="hidden", trigger_mode="always_last")
    return sliders


def _region(page: _Page, visit: Any) -> Any:
    """An editor on which a region is drawn, and what the change does there."""
    import gradio as gr

    gr.Markdown("Draw over a part of the image: what does the change do there, and without it?")
    with gr.Row():
        editor = _sent(
            gr.ImageEditor(
                label="Region", type="pil", sources=(), transforms=(), format="png", layers=False, buttons=BUTTONS
            )
        )
        with gr.Column():
            button = gr.Button("What does the change do here?")
            words = gr.Textbox(label="Answer", interactive=False, lines=6)
    button.click(_told(page.region), [visit, editor], words)
    return editor


def _maps_of(page: _Page, visit: Any) -> None:
    """The map of an explainer that is chosen."""
    import gradio as gr

    with gr.Row():
        method = gr.Dropdown(list(page.maps.methods), value=page.maps.methods[0], label="Explainer")
        button = gr.Button("Explain by it")
    with gr.Row():
        picture = gr.Image(label="Map", interactive=False, format="png", height=300, buttons=BUTTONS)
        words = gr.Textbox(label="Cost", interactive=False)
    button.click(_told(page.map), [visit, method], [picture, words])


def _download(page: _Page, visit: Any) -> None:
    """The files that the command line would have written."""
    import gradio as gr

    button = gr.Button("The files that traverse writes")
    files = gr.File(label="Files", file_count="multiple", interactive=False)
    button.click(_told(page.files), [visit], files)


def _sent(component: Any) -> Any:
    """A component that takes what was sent, not the address of something that the server would have to fetch."""
    import gradio as gr

    take = component.async_move_resource_to_block_cache

    async def taken(place: Any) -> Any:
        if "://" in str(place):
            raise gr.Error("nothing is fetched from elsewhere: send the picture itself.", print_exception=False)
        return await take(place)

    component.async_move_resource_to_block_cache = taken
    return component


def _told(answer: Callable[..., Any]) -> Callable[..., Any]:
    """An answer whose ``UserError`` is shown to the visitor in its own words."""

    @wraps(answer)
    def told(*arguments: Any) -> Any:
        import gradio as gr

        try:
            return answer(*arguments)
        except UserError as error:
            # what is told so is read as HTML, and names of classes are in it
            raise gr.Error(html.escape(printable(str(error))), print_exception=False) from error

    return told


class _Page:
    """What happens at each button and slider; keeps nothing of any visitor."""

    def __init__(self, engine: Engine, maps: LiveMaps, limits: Limits):
        self.engine, self.maps, self.limits = engine, maps, limits
        self.downloads = Downloads()

    def explain(self, upload: str | None, target: str, reference: str) -> list[Any]:
        """Read what was sent, search, and show the boundary."""
        import gradio as gr

        if upload is None:
            raise UserError("there is no picture yet: drop one first.")
        progress = gr.Progress()
        progress(0.1, desc="reading the picture")
        image = read_upload(upload, self.engine.run.config.data, self.limits)
        progress(0.3, desc="searching along the path")
        result = self.engine.explain(image, target, reference)
        visit = Visit(image, result)
        progress(0.9, desc="drawing")
        last = len(result.tau) - 1
        at = last if result.boundary is None else int((result.tau < result.boundary).sum())
        slider = gr.Slider(maximum=max(1, last), value=min(at, last), step=1)
        background = tile(result.original).resize((SHOWN, SHOWN), Image.Resampling.NEAREST)
        editor = {"background": background, "layers": [], "composite": background}
        return [visit, described(result), strip_picture(result), slider, *self.frame(visit, min(at, last)), editor]

    def rest(self) -> list[float]:
        """All sliders of the class code at rest."""
        return [0.0] * len(self.engine.axes)

    def frame(self, visit: Visit | None, place: float) -> list[Any]:
        """One point of the path, and what both classifiers say of it."""
        images = _visited(visit).result.path_images
        return pictured(self.engine.answer([images[min(max(int(place), 0), len(images) - 1)]])[0])

    def moved(self, visit: Visit | None, *offsets: float) -> list[Any]:
        """The image under a code that was moved by hand."""
        return pictured(self.engine.moved(_visited(visit).image, offsets))

    def region(self, visit: Visit | None, drawn: dict[str, Any] | None) -> str:
        """What the change does inside the region that was drawn, in words."""
        result = _visited(visit).result
        found = self.engine.region(result, drawn_region(drawn, result.original.shape[-2:]))
        share = "Nothing changes" if found.share is None else f"{found.share:.0%} of the change lies in the region"
        parts = [
            share,
            f"The change there alone: {_said(found.inside)}",
            f"The change without it: {_said(found.outside)}",
        ]
        return printable("".join(f"{part}.\n" for part in parts))

    def map(self, visit: Visit | None, method: str) -> list[Any]:
        """The map of an explainer, and what it cost."""
        import gradio as gr

        image, progress = _visited(visit).image, gr.Progress()
        progress(0.0, desc=f"waiting for {method}")
        found = self.maps(method, image, lambda scored: progress((scored, None), desc=method, unit="images scored"))
        values = found.attribution[0, 0].detach().cpu().numpy()
        largest = float(np.abs(values).max()) or 1.0
        signed = bool((values < 0).any())
        picture = colour_mapped(values, DIVERGING if signed else SEQUENTIAL, -largest if signed else 0.0, largest)
        target = self.engine.run.classes[int(found.target[0])]
        cost = f"{int(found.evaluations[0])} images scored, {found.seconds:.1f} s"
        words = f"{method} for {printable(target)}: {cost}, largest value {largest:.3g}"
        return [picture, words]

    def files(self, visit: Visit | None) -> list[str]:
        """The files that the command line would have written."""
        return [str(path) for path in self.downloads.write(_visited(visit).result)]


def _visited(visit: Visit | None) -> Visit:
    if visit is None:
        raise UserError("nothing was explained yet: drop a picture and press Explain.")
    return visit


def described(result: Counterfactual) -> str:
    """What came of a search, in words."""
    if result.found and result.boundary is not None:
        where = f"after {result.boundary:.0%} of the path"
        return printable(f"{result.source_class}; {where} the answer is {result.target_class}.")
    return printable(f"{result.source_class}; no counterfactual towards {result.target_class}: {result.reason}.")


def pictured(answer: Answer) -> list[Any]:
    """An answer as picture and two labels."""
    both = (answer.classifier, answer.oracle or {})
    return [tile(answer.image), *({printable(name): share for name, share in seen.items()} for seen in both)]


def _said(answer: Answer) -> str:
    parts = [("the classifier", answer.classifier), *([("the oracle", answer.oracle)] if answer.oracle else [])]
    return ", ".join(f"{who} sees {max(said, key=said.__getitem__)} ({max(said.values()):.2f})" for who, said in parts)


def drawn_region(drawn: dict[str, Any] | None, size: Sequence[int]) -> Tensor:
    """What was painted on the editor, as a region ``(1, H, W)`` bool of the image."""
    layers = (drawn or {}).get("layers") or []
    height, width = size
    region = torch.zeros(1, height, width, dtype=torch.bool)
    for layer in layers:
        if isinstance(layer, Image.Image):
            alpha = torch.from_numpy(np.asarray(layer.convert("RGBA"))[..., 3].copy()).float() / 255
            region |= F.adaptive_avg_pool2d(alpha[None], (height, width)) > 0.25
    return region
