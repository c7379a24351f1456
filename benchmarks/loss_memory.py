"""The memory of the loss alone: TRL's fused loss and ours, and how ours grows with the number of tokens.

    python -m benchmarks.loss_memory

Each peak is of a new process, which the kernel watches (Linux alone): its resident memory at most, forward and
backward, above what it was once weights and hidden states were there and a tiny step had run. Freed memory goes back to
the kernel at once, so that a peak is of what is alive, not of what malloc happens to keep.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import re
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from unittest.mock import patch

from benchmarks.loss_contenders import BUCKET, FULL, PEER, QUICK, Inputs, LossSize, loss_contenders
from benchmarks.tables import machine, publish, table

SMALL = LossSize(tokens=64, vocabulary=8000, width=64, top_k=8)
"""Larger than the tiny step, whose memory would do for it else."""

TIMES = (1, 4, 16)
"""Number of tokens."""


def peak_here(name: str, size: LossSize, frozen: bool) -> int:
    """Bytes that a step takes beyond what is there before it; ``frozen`` is the head."""
    loss_contenders(QUICK)[name].step(Inputs(QUICK))  # imports, threads
    step, inputs = loss_contenders(size)[name].step, Inputs(size, frozen=frozen)
    Path("/proc/self/clear_refs").write_text("5")  # the peak is now what is resident
    before = _peak_resident()
    step(inputs)
    return _peak_resident() - before


def _peak_resident() -> int:
    found = re.search(r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return 1024 * int(found[1])


def peak(name: str, size: LossSize, *, frozen: bool = False) -> int:
    """Return the peak of `peak_here`, measured in a new process."""
    context = get_context("forkserver")
    context.set_forkserver_preload(["benchmarks.loss_contenders", "trl.kernels.chunked_divergence"])  # takes seconds
    fixed = patch.dict(os.environ, MALLOC_MMAP_THRESHOLD_=str(2**20))
    with fixed, ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(peak_here, name, size, frozen).result()


def peaks_table(names: Sequence[str], size: LossSize) -> str:
    """Return each contender's peaks, each with its ratio to TRL's: in all, without the head's gradient, frozen head."""
    of_head = 4 * size.vocabulary * size.width
    everything = {name: peak(name, size) for name in names}
    columns = {
        "all, MB": everything,
        "but the head's gradient, MB": {name: bytes_ - of_head for name, bytes_ in everything.items()},
        "head frozen, MB": {name: peak(name, size, frozen=True) for name in names},
    }
    rows = []
    for name in names:
        peer = PEER.get(name)
        cells = ((column[name], column.get(peer)) for column in columns.values())
        rows.append(
            [name, *(text for own, its in cells for text in (megabytes(own), f"{own / its:.2f}" if its else ""))]
        )
    return table(["loss", *(text for title in columns for text in (title, "of TRL's"))], rows)


def growth_table(size: LossSize) -> str:
    """DOPD's peak by number of tokens, beside what is kept of each token."""
    sizes = [dataclasses.replace(size, tokens=times * size.tokens) for times in TIMES]
    found = [peak(BUCKET, each) for each in sizes]
    rows = [
        [
            f"{each.tokens:,}",
            megabytes(bytes_),
            megabytes(bytes_ - found[0]),
            megabytes((each.tokens - size.tokens) * kept_of_a_token(size)),
        ]
        for each, bytes_ in zip(sizes, found, strict=True)
    ]
    return table(["tokens", "all, MB", "more than the first, MB", "more that is kept, MB"], rows)


def kept_of_a_token(size: LossSize) -> int:
    """Bytes: three policies' states, one gradient of them, and two tables of ids and log-probabilities."""
    return 4 * (4 * size.width + 2 * 2 * size.top_k)


def megabytes(bytes_: int) -> str:
    return f"{bytes_ / 1e6:.0f}"


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to see that it runs")
    parser.add_argument("--out", type=Path, help="a file to write the report to, besides printing it")
    options = parser.parse_args(argv)
    size = SMALL if options.quick else FULL
    _, _, there = machine(time.perf_counter).partition("; ")  # no clock is read
    publish(
        [
            f"## Memory of the loss alone\n\n{size.tokens} response tokens; {size}; the head's gradient is "
            f"{megabytes(4 * size.vocabulary * size.width)} MB. {there}.",
            peaks_table(list(loss_contenders(size)), size),
            f"{BUCKET}, by number of tokens. Kept are the three policies' hidden states, the gradient of the student's "
            "states, and the sources' likeliest tokens:",
            growth_table(size),
        ],
        options.out,
    )


if __name__ == "__main__":
    main()
