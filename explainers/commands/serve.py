"""The command `serve`: a local app for a trained run, on this machine alone unless a token guards it."""

from __future__ import annotations

import dataclasses
import hmac
import importlib.util
import os
from typing import Any

from PIL import Image

from cae.classifiers import TargetClassifier
from cae.config import Config
from cae.errors import UserError
from cae.runs.trained_run import load_run
from explainers.app.engine import Engine
from explainers.app.interface import SHOWN, build_interface
from explainers.app.live_maps import LiveMaps
from explainers.app.uploads import Limits
from explainers.base import Explainer
from explainers.commands.resources import build_explainers
from explainers.registry import parse_options

LOCAL = ("127.0.0.1", "localhost", "::1")
SHORTEST_TOKEN = 16
SESSIONS = 64  # visitors whose work is kept at once


def serve(config: Config) -> None:
    """Serve the app until it is interrupted.

    Raises:
        UserError: if Gradio is not installed, the address is open without a token, or the run cannot be opened.
    """
    check(config)
    blocks = launched(config, Engine(load_run(config)))
    print(f"open {blocks.local_url} in a browser; Ctrl-C ends it", flush=True)
    blocks.block_thread()


def launched(config: Config, engine: Engine) -> Any:
    """The app of a run, which answers already, as ``gradio.Blocks``; ``close`` ends it."""
    limits, options = limits_of(config), config.serve
    Image.MAX_IMAGE_PIXELS = max(limits.pixels, SHOWN**2)  # also for what Gradio decodes by itself: drawn regions
    blocks = build_interface(engine, live_maps(engine, config), limits)
    blocks.launch(
        server_name=options.host, server_port=options.port, share=False, show_error=False, quiet=True,
        auth=None if options.token is None else lambda _, word: is_token(word, str(options.token)),
        auth_message="any name; the token of serve.token is the password", max_file_size=limits.bytes,
        state_session_capacity=SESSIONS, enable_monitoring=False, footer_links=[], ssr_mode=False,
        theme=_theme(), css=".dark { --color-accent: var(--primary-400); }",
        prevent_thread_lock=True,
    )  # fmt: skip
    return blocks


def _theme() -> Any:
    """Fonts that nobody has to fetch, and words dark enough to be read."""
    import gradio as gr

    theme = gr.themes.Base(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"])
    return theme.set(
        body_text_color_subdued="*neutral_600",
        body_text_color_subdued_dark="*neutral_300",
        color_accent="*primary_700",
        button_primary_background_fill="*primary_700",
        button_primary_background_fill_hover="*primary_800",
    )


def check(config: Config) -> None:
    """Refuse what must not be served, before anything is loaded.

    Raises:
        UserError: with all that is wrong.
    """
    problems, options = [], config.serve
    if options.token is not None and len(options.token) < SHORTEST_TOKEN:
        problems.append(f"serve.token must have at least {SHORTEST_TOKEN} characters, but has {len(options.token)}.")
    if options.host not in LOCAL and options.token is None:
        problems.append(
            f"serve.host={options.host} opens the app to other machines: give serve.token a secret of at least "
            f"{SHORTEST_TOKEN} characters, or leave serve.host at 127.0.0.1."
        )
    if not config.methods:
        problems.append("methods names no explainer.")
    found = importlib.util.find_spec("gradio")
    if found is None or found.origin is None:  # the second where an uninstalled one has left a folder behind
        problems.append("`serve` needs Gradio, which is not installed: pip install 'cae-explain[app]'.")
    if problems:
        raise UserError(problems)
    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")


def is_token(word: str, token: str) -> bool:
    """Whether a word is the token, in a time that tells nothing of it."""
    return hmac.compare_digest(word.encode(), token.encode())


def limits_of(config: Config) -> Limits:
    """The limits of uploads, from the options."""
    return Limits(int(config.serve.largest_upload * 1e6), int(config.serve.pixels * 1e6))


def live_maps(engine: Engine, config: Config) -> LiveMaps:
    """Maps by the methods of the configuration, with its options."""
    run, settings = engine.run, parse_options(config.explain.options, config.methods)

    def make(name: str, classifier: TargetClassifier) -> Explainer:
        options = {"batch_size": config.explain.batch_size, **settings[name]}
        return build_explainers(dataclasses.replace(run, classifier=classifier), {name: options})[name]

    return LiveMaps(run.classifier, make, config.methods, config.seed, engine.turn)
