"""What a report costs: time and memory to make it, its size, and the time until a browser shows something of it.

    python benchmarks/report.py

Explains images of the lesions by the models that the package carries, which takes some minutes, makes their report in a
process of its own, and opens it in Chromium, where there is one (system packages chromium and chromium-driver, and
selenium): as it is, and filled up with further pictures to the largest size that it may have. The figures are printed;
those of one machine stand in docs/how-to/look_at_a_run.md.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks._machine import machine  # noqa: E402 (the script also runs without an installation)

REPEATS = 3  # times that the page is opened
FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-sync",
         "--disable-component-update", "--disable-background-networking", "--disable-dev-shm-usage")  # fmt: skip


def main() -> None:
    """Measure, and print the figures."""
    arguments = _arguments()
    figures: dict[str, float | str] = {"machine": machine(), "images": arguments.images}
    with tempfile.TemporaryDirectory() as temporary:
        runs = Path(arguments.runs or temporary)
        options = [f"runs={runs}", "name=benchmark", f"traverse.limit={arguments.images}", "traverse.save=all"]
        _run("traverse", *options, "traverse.gif=false", "traverse.strips=false")
        started = time.perf_counter()
        _run("report", *options, f"report.size={arguments.size}")
        figures["seconds"] = round(time.perf_counter() - started, 1)
        # the largest of both processes; that of the search is no larger
        figures["gigabytes"] = round(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e6, 2)
        page = runs / "benchmark" / "report.html"
        figures["megabytes"] = round(page.stat().st_size / 1e6, 1)
        if shutil.which("chromium") and shutil.which("chromedriver"):
            figures["seconds_to_first_paint"] = _first_paint(page)
            full = filled(page, int(arguments.size * 1e6))
            figures["megabytes_filled"] = round(full.stat().st_size / 1e6, 1)
            figures["seconds_to_first_paint_filled"] = _first_paint(full)
    print(json.dumps(figures, indent=2))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--size", type=float, default=15.0, help="megabytes of the file at most")
    parser.add_argument("--runs", help="folder of runs to keep; what is explained there is not explained again")
    return parser.parse_args()


def _run(word: str, *options: str) -> None:
    command = [sys.executable, ROOT / "explain.py", word, ROOT / "configs" / "pretrained.yaml", *options]
    subprocess.run(command, check=True, env={**os.environ, "MPLBACKEND": "Agg"})


def filled(page: Path, size: int) -> Path:
    """A copy of the page with further pictures embedded as its own are, until it has so many bytes."""
    html, ends = page.read_text(encoding="utf-8"), "\n<script>"
    missing = max(0, size - page.stat().st_size)
    blocks, each = [], 60_000
    for number in range(missing // each):
        text = base64.b64encode(random.Random(number).randbytes(each * 3 // 4)).decode()
        blocks.append(f'<script type="text/plain" id="p-filled{number}">{text}</script>')
    head, script, tail = html.rpartition(ends)
    path = page.with_name("filled.html")
    path.write_text(head + "".join(blocks) + script + tail, encoding="utf-8")
    return path


def _first_paint(page: Path) -> float:
    """Seconds from the start of the navigation until something is painted, the median of some openings."""
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    with tempfile.TemporaryDirectory() as profile:
        for flag in (*FLAGS, f"--user-data-dir={profile}"):
            options.add_argument(flag)
        browser = webdriver.Chrome(options=options, service=webdriver.ChromeService(shutil.which("chromedriver")))
        try:
            times = sorted(_paint(browser, page) for _ in range(REPEATS))
        finally:
            browser.quit()
    return round(times[len(times) // 2], 2)


def _paint(browser, page: Path) -> float:
    browser.get("about:blank")
    browser.get(page.as_uri())
    paints = "return performance.getEntriesByName('first-contentful-paint').map(entry => entry.startTime)"
    while not (found := browser.execute_script(paints)):
        time.sleep(0.05)
    return found[0] / 1000


if __name__ == "__main__":
    main()
