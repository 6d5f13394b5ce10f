"""The command `serve`: a local app for a trained run, on this machine alone unless a token guards it."""

from __future__ import annotations

import hmac
import importlib.util
import os
from typing import Any

from PIL import Image
from torch import Tensor

from cae.config import Config
from cae.errors import UserError
from cae.runs.trained_run import load_run
from explainers.app.engine import Engine
from explainers.app.interface import build_interface
from explainers.app.uploads import Limits
from explainers.commands.resources import build_explainers
from explainers.explanation import Explanation
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
    import gradio as gr

    engine, limits = Engine(load_run(config)), limits_of(config)
    Image.MAX_IMAGE_PIXELS = limits.pixels  # also for what Gradio decodes by itself
    options = config.serve
    blocks = build_interface(engine, _maps(engine, config), config.methods, limits)
    blocks.launch(
        server_name=options.host, server_port=options.port, share=False, show_error=False, quiet=True,
        auth=None if options.token is None else lambda _, word: is_token(word, str(options.token)),
        auth_message="any name; the token of serve.token is the password", max_file_size=limits.bytes,
        state_session_capacity=SESSIONS, enable_monitoring=False, footer_links=[], ssr_mode=False,
        theme=gr.themes.Base(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"]),
        prevent_thread_lock=True,
    )  # fmt: skip
    print(f"open http://{options.host}:{options.port} in a browser; Ctrl-C ends it", flush=True)
    blocks.block_thread()


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
    if importlib.util.find_spec("gradio") is None:
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


def _maps(engine: Engine, config: Config) -> Any:
    """Explains one image by one method, each of which is made when it is first asked for."""
    settings = parse_options(config.explain.options, config.methods)
    made: dict[str, Any] = {}

    def explain(name: str, image: Tensor) -> Explanation:
        if name not in config.methods:
            raise UserError(f"there is no explainer {name!r} here: `methods` offers {', '.join(config.methods)}.")
        if name not in made:
            options = {"batch_size": config.explain.batch_size, **settings[name]}
            made[name] = build_explainers(engine.run, {name: options})[name]
        return made[name](image[None], seed=config.seed)

    return explain
