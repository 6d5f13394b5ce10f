"""What the app costs: the time of a traversal at 64 and at 128 pixels, and many visitors at once.

    python benchmarks/app.py

Serves the models that the package carries (64 pixels), and a CAE of the recipe `lesions` at 128 pixels which is
trained for three steps: what a search costs depends on the images that it decodes, not on what the weights have learnt.
Visitors speak to the server over HTTP. Each figure is printed as soon as it is measured; memory is the most that the
server's process has held.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks._machine import machine  # noqa: E402 (the script also runs without an installation)

SMALL = ("data.lesions.train=120", "data.lesions.val=30", "data.lesions.test=30", "trainer.accelerator=cpu")
# everything that the cost of a search depends on is that of the recipe
TRAINING = ("data.batch_size=12", "classifier.epochs=30", "oracle.epochs=1", "cae.max_steps=3", "cae.warmup_steps=1",
            "cae.ramp_steps=1", "cae.validate_every=3", "cae.recipients=4", "cae.pairs=4", "cae.validation_pairs=12",
            "cae.max_reconstruction_error=1")  # fmt: skip
REPEATS = 7


def main() -> None:
    """Measure, and print the figures."""
    arguments = _arguments()
    _tell("machine", machine())
    with tempfile.TemporaryDirectory() as temporary:
        runs = Path(arguments.runs or temporary)
        runs.mkdir(parents=True, exist_ok=True)
        images = _images(64, runs)
        with _served("pretrained", f"runs={runs}", *SMALL) as (url, process):
            _tell("64 pixels", _answers(url, images, process))
            _tell(f"{arguments.visitors} visitors at once", _crowd(url, images, arguments.visitors, process))
        options = (f"runs={runs}", "name=app128", "data.image_size=128", *SMALL, *TRAINING)
        for word in ("classifier", "cae"):
            _run("train.py", word, "lesions", *options, "resume=last")
        with _served("lesions", *options) as (url, process):
            _tell("128 pixels", _answers(url, _images(128, runs), process))


def _tell(name: str, figure: object) -> None:
    print(json.dumps({name: figure}), flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--visitors", type=int, default=50)
    parser.add_argument(
        "--runs", help="folder of runs to keep; models of 128 pixels that lie there are not trained again"
    )
    return parser.parse_args()


def _run(program: str, *arguments: str) -> None:
    subprocess.run([sys.executable, ROOT / program, *arguments], check=True, env={**os.environ, "MPLBACKEND": "Agg"})


def _images(side: int, folder: Path) -> list[Path]:
    """Drawn slices as PNG files."""
    from cae.canvas import save_png
    from cae.config.command_line import load_config
    from cae.counterfactuals.export import picture_of
    from cae.data import CAEDataModule

    data = CAEDataModule(load_config(["lesions"], overrides=[f"data.image_size={side}", *SMALL]).data)
    data.setup("test")
    paths = [folder / f"slice_{side}_{number}.png" for number in range(REPEATS)]
    for number, path in enumerate(paths):
        save_png(picture_of(data.test[number].image), path)
    return paths


@contextlib.contextmanager
def _served(recipe: str, *options: str) -> Iterator[tuple[str, int]]:
    """The address of the app, once it answers, and the number of its process."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        sys.executable,
        str(ROOT / "explain.py"),
        "serve",
        recipe,
        *options,
        f"serve.port={port}",
        "methods=[random]",
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            for line in process.stdout or ():
                if line.startswith("open http"):
                    break
            else:
                raise SystemExit("the app did not start")
            # nobody waits for a pipe that is full
            reader = threading.Thread(target=deque, args=(process.stdout, 0), daemon=True)
            reader.start()
            yield f"http://127.0.0.1:{port}", process.pid
            process.terminate()
            reader.join()
        finally:
            process.terminate()


def _explain(url: str, image: Path) -> float:
    """Seconds until a new visitor has the path of an image."""
    from gradio_client import Client, handle_file

    visitor = Client(url, verbose=False)
    started = time.perf_counter()
    answer = visitor.predict(handle_file(str(image)), "the runner-up", "prototype", api_name="/explain")
    assert answer[0], answer
    return time.perf_counter() - started


def _answers(url: str, images: Sequence[Path], process: int) -> dict[str, float]:
    _explain(url, images[0])  # the first search of a process makes what the later ones find
    spent = _processor_seconds(process)
    times = sorted(_explain(url, image) for image in images)
    each = (_processor_seconds(process) - spent) / len(times)
    return {
        "seconds, median": round(times[len(times) // 2], 2),
        "seconds, longest": round(times[-1], 2),
        "seconds of the processor, mean": round(each, 2),
    }


def _crowd(url: str, images: Sequence[Path], count: int, process: int) -> dict[str, float]:
    before, spent, started = _largest_memory(process), _processor_seconds(process), time.perf_counter()
    with ThreadPoolExecutor(count) as pool:
        times = list(pool.map(lambda number: _explain(url, images[number % len(images)]), range(count)))
    return {
        "answers": len(times),
        "seconds, all": round(time.perf_counter() - started, 1),
        "megabytes before": before,
        "megabytes more": _largest_memory(process) - before,
        "seconds of the processor": round(_processor_seconds(process) - spent, 1),
    }


def _processor_seconds(process: int) -> float:
    """Seconds that the processors have worked for a process (Linux): of account where others are at work, too."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _largest_memory(process: int) -> int:
    """Megabytes that a process has held at most (Linux)."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{process}/status").read_text())
    return int(found[1]) // 1000 if found else 0


if __name__ == "__main__":
    main()
