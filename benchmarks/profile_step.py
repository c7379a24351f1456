"""Profile of a DOPD step, by room of the package and by operator of torch.

    python -m benchmarks.profile_step

The rooms are those whose functions the module calls, so that the table follows the code. Time belongs to the innermost.
"""

from __future__ import annotations

import inspect
import statistics
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import cached_property
from typing import Any
from unittest.mock import patch

from torch.profiler import ProfilerActivity, profile

from benchmarks.contenders import LOSS, fit
from benchmarks.models import FULL, QUICK
from benchmarks.parts import Parts, Seconds
from benchmarks.tables import arguments, machine, milliseconds, publish, table
from dopd_lightning.data import PromptFormat
from dopd_lightning.fusion import DOPD, TokenStatistics
from dopd_lightning.training import module, objective

OPERATORS = 12


@contextmanager
def watching_rooms(parts: Parts) -> Iterator[None]:
    """Time each room that the module calls as a part of its name, and the rule with the statistics that it reads."""
    with ExitStack() as stack:

        def watch(owner: Any, name: str, room: str) -> None:
            stack.enter_context(patch.object(owner, name, parts.timed(room, getattr(owner, name))))

        for caller in (module, objective):
            for name, value in list(vars(caller).items()):
                home = value.__module__.split(".") if inspect.isfunction(value) else []
                if home[:1] == ["dopd_lightning"] and home[1] != "module":
                    watch(caller, name, home[1])
        for value in vars(TokenStatistics).values():
            if isinstance(value, cached_property):
                watch(value, "func", "fusion")
        watch(DOPD, "__call__", "fusion")
        watch(PromptFormat, "token_ids", "data")
        yield


def rooms_table(steps: Sequence[Seconds]) -> str:
    """Median of each part and its share, the longest first."""
    seconds = {part: statistics.median(step.get(part, 0.0) for step in steps) for part in set().union(*steps)}
    total = statistics.median(sum(step.values()) for step in steps)
    seconds["rest of the training step"] = seconds.pop(LOSS)
    ordered = sorted(seconds, key=seconds.__getitem__, reverse=True)
    rows = [[part, milliseconds(seconds[part]), f"{seconds[part] / total:.1%}"] for part in ordered]
    return table(["part", "ms", "share"], [*rows, ["step", milliseconds(total), "100%"]])


def operators_table(profiled: profile) -> str:
    """The operators that take longest, without what they call."""
    events = [event for event in profiled.key_averages() if event.key.startswith("aten::")]
    events.sort(key=lambda event: event.self_cpu_time_total, reverse=True)
    total = sum(event.self_cpu_time_total for event in events)
    rows = [[f"`{event.key}`", str(event.count), f"{event.self_cpu_time_total / total:.1%}"] for event in events]
    return table(["operator", "calls", "share"], rows[:OPERATORS])


def main(argv: Sequence[str] | None = None) -> None:
    options = arguments(__doc__, argv, rounds=2)
    size, warm_up, steps = (QUICK, 1, 2) if options.quick else (FULL, 2, 5)
    contender = fit("DOPD", size, DOPD(top_k=min(DOPD.top_k, size.vocabulary)), privileged=True)
    measured = []
    for _ in range(options.rounds):
        parts = Parts(options.clock)
        with watching_rooms(parts):
            contender.run(warm_up + steps, parts)
        measured += parts.steps[warm_up:]
    with profile(activities=[ProfilerActivity.CPU]) as profiled:
        contender.run(2, Parts(options.clock))
    publish(
        [
            f"## Where a DOPD step goes\n\n{size}. Medians of {len(measured)} steps. {machine(options.clock)}.",
            rooms_table(measured),
            "By operator, in two further steps:",
            operators_table(profiled),
        ],
        options.out,
    )


if __name__ == "__main__":
    main()
