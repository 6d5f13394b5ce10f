"""The command `run`: one explainer over many images; and the list of all explainers with their options."""

from __future__ import annotations

from cae.config import Config
from explainers.registry import default_options, list_explainers


def run(config: Config) -> None:
    """Explain images by one method: a map and a figure each, and a table of what it costs and how faithful it is.

    Raises:
        UserError: as ``explain_images`` does.
    """
    if config.method == "list":
        print(listing())
        return
    from explainers.commands.compare import explain_images  # with drawing and measuring, which the list does not need

    explain_images(config, [config.method], config.explain.folder or config.method)


def listing() -> str:
    """All methods with their options and defaults."""
    lines = []
    for name, words in list_explainers().items():
        options = (f"{key}={default}" for key, default in default_options(name).items() if key != "batch_size")
        lines.append(f"  {name:22} {words}\n  {'':22} {', '.join(options) or 'no options'}")
    return "\n".join(["methods, and their options (explain.options=[METHOD.NAME=VALUE, …]):", *lines])
