"""The app of the shipped run on a free port of this machine, answering over HTTP."""

from __future__ import annotations

import dataclasses
import io
import json
import secrets
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from cae.config.command_line import load_config
from cae.runs.trained_run import load_run
from explainers.app.engine import Engine

SMALL = ("data.lesions.train=30", "data.lesions.val=3", "data.lesions.test=6", "trainer.accelerator=cpu")


def shipped_engine() -> Engine:
    """The models that the package carries, with few images."""
    return Engine(load_run("pretrained", *SMALL))


def hostile_engine(classes: tuple[str, ...], name: str) -> Engine:
    """The same models, whose classes and run bear other names."""
    run = load_run("pretrained", *SMALL)
    for classifier in (run.classifier, run.oracle):
        classifier.classes = tuple(classes)
    run.config.name = name
    return Engine(dataclasses.replace(run, manifold=dataclasses.replace(run.manifold, classes=tuple(classes))))


@contextmanager
def served(engine: Engine, *options: str) -> Iterator[str]:
    """The address at which the app answers; ``options`` are settings of the command line."""
    from explainers.commands.serve import launched

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    config = load_config(overrides=[f"serve.port={port}", "methods=[random,gradcam]", *options])
    most = Image.MAX_IMAGE_PIXELS  # the server sets it, for all of its process
    blocks = launched(config, engine)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        blocks.close(verbose=False)
        Image.MAX_IMAGE_PIXELS = most


def picture_file(engine: Engine, number: int, path: Path) -> Path:
    """A test image of the run as a PNG file."""
    path.write_bytes(png(engine.run.data.test[number].image))
    return path


def png(image: Any) -> bytes:
    """An image ``(1, H, W)`` as the bytes of a PNG file."""
    buffer = io.BytesIO()
    Image.fromarray((image[0].numpy() * 255).round().astype(np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


class RefusedError(Exception):
    """What the app says to a visitor instead of an answer."""


class Visitor:
    """One visitor of the app, who speaks HTTP without a browser, and may send what no browser would."""

    def __init__(self, url: str):
        import httpx

        self.session = secrets.token_hex(8)
        self.http = httpx.Client(base_url=f"{url}/gradio_api", timeout=120)

    def upload(self, name: str, content: bytes) -> dict[str, Any]:
        """Send a file, and give what stands for it in a question."""
        answer = self.http.post("/upload", files={"files": (name, content)})
        if answer.status_code != 200:
            raise RefusedError(answer.text)
        return {"path": answer.json()[0], "orig_name": name, "meta": {"_type": "gradio.FileData"}}

    def ask(self, question: str, *values: Any) -> Any:
        """The answer to a question, such as ``explain``."""
        asked = self.http.post(f"/call/{question}", json={"data": list(values), "session_hash": self.session})
        if asked.status_code != 200:
            raise RefusedError(asked.text)
        kind = ""
        with self.http.stream("GET", f"/call/{question}/{asked.json()['event_id']}") as lines:
            for line in lines.iter_lines():
                if line.startswith("event:"):
                    kind = line.removeprefix("event:").strip()
                elif line.startswith("data:") and kind in ("complete", "error"):
                    value = json.loads(line.removeprefix("data:"))
                    if kind == "error":
                        raise RefusedError((value or {}).get("error") or "no answer")
                    return value
        raise RefusedError("the stream ended")

    def explain(self, content: bytes, target: str = "mass") -> Any:
        """Send a picture and have it explained: words, strip, slider, image, classifier, oracle, editor."""
        return self.ask("explain", self.upload("picture.png", content), target, "prototype")[1:]  # first is the state

    def get(self, place: str) -> bytes:
        """A file that an answer names."""
        answer = self.http.get(f"/file={place}")
        answer.raise_for_status()
        return answer.content
