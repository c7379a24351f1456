"""Size of a divergence map's page, time to make it, and time until it can be used in Chromium.

    python -m benchmarks.map_page

200 prompts of 512 tokens at 20 steps, numbers and words as a run has them, then as random as can be. Playwright drives
the Chromium of the system; the times are from a fresh browser's request for the file.
"""

from __future__ import annotations

import argparse
import gc
import os
import platform
import re
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from playwright.sync_api import sync_playwright

from benchmarks.made_up_maps import at_random, like_a_run
from benchmarks.tables import publish, table
from dopd_lightning.maps import Snapshot, render_page

CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
OPTIONS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
COLUMNS = ["numbers and words", "MB", "encoded, s a step", "put together, s", "in use, s", "what it says it left out"]


def seconds_until_in_use(path: Path, rounds: int) -> float | None:
    """Median time until tokens are coloured and one answers to the keyboard; None without a Chromium."""
    executable = next(filter(None, map(shutil.which, CHROMIUM)), None)
    if executable is None:
        return None
    times = []
    with sync_playwright() as playwright:
        for _ in range(rounds):
            browser = playwright.chromium.launch(executable_path=executable, args=OPTIONS)
            page = browser.new_page()
            begin = time.perf_counter()
            page.goto(path.as_uri(), wait_until="commit")
            page.wait_for_selector("#tokens [role=option][data-regime]")
            page.focus("#tokens [role=option]")
            page.wait_for_selector("#record dd[data-name=gap]")
            times.append(time.perf_counter() - begin)
            browser.close()
    return statistics.median(times)


def row(name: str, make: Callable[[int], Snapshot], steps: int, rounds: int) -> list[str]:
    snapshots = [make(10 * step) for step in range(steps)]
    begin = time.perf_counter()
    render_page(snapshots, title=name)
    first = time.perf_counter() - begin
    begin = time.perf_counter()
    page = render_page(snapshots, title=name)
    again = time.perf_counter() - begin
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "map.html"
        path.write_text(page, encoding="utf-8")
        del snapshots
        gc.collect()
        seconds = seconds_until_in_use(path, rounds)
    notice = re.search(r'role="note">To stay below .*? this page has (.*?)\.?</p>', page)
    return [
        name,
        f"{len(page.encode()) / 1e6:.2f}",
        f"{(first - again) / steps:.2f}",
        f"{again:.2f}",
        "no Chromium" if seconds is None else f"{seconds:.2f}",
        notice[1] if notice else "nothing",
    ]


def rows(quick: bool, rounds: int) -> Iterator[list[str]]:
    steps, sizes = (2, {"prompts": 4, "tokens": 32}) if quick else (20, {"prompts": 200, "tokens": 512})
    yield row("like a run's", partial(like_a_run, fixed=sizes["prompts"] // 2, **sizes), steps, rounds)
    yield row("at random", partial(at_random, **sizes), steps, rounds)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="tiny maps, to see that it runs")
    parser.add_argument("--out", type=Path, help="a file to write the report to, besides printing it")
    parser.add_argument("--rounds", type=int, help="times to open each page (default: 3)")
    found = parser.parse_args(argv)
    rounds = found.rounds or (1 if found.quick else 3)
    heading = f"Wall time; {os.cpu_count()} CPU cores ({platform.machine()}); browsers: the median of {rounds}"
    publish([heading, table(COLUMNS, [*rows(found.quick, rounds)])], found.out)


if __name__ == "__main__":
    main()
