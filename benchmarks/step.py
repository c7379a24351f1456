"""A whole training step, side by side: TRL's on-policy distillation, ours of the same kind, and DOPD.

    python -m benchmarks.step

Each contender takes its steps in its own trainer's loop; blocks of them alternate, in one process, so that a machine
that slows down slows them all. A step's time is from the end of the step before to its own end.
"""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.contenders import ROWS, Contender, fit, measure
from benchmarks.models import FULL, QUICK, Size
from benchmarks.peer import trl
from benchmarks.tables import arguments, machine, parts_table, publish, totals_table
from dopd_lightning.fusion import DOPD, Teacher

VANILLA = "vanilla"


def contenders_of(size: Size) -> list[Contender]:
    """TRL first, if it is installed."""
    found = [
        fit(VANILLA, size, Teacher(), privileged=False),
        fit("DOPD", size, DOPD(top_k=min(DOPD.top_k, size.vocabulary)), privileged=True),
    ]
    try:
        return [trl(size), *found]
    except ImportError:
        print("trl is not installed, so that there is nothing to compare with: pip install -e '.[bench]'\n")
        return found


def main(argv: Sequence[str] | None = None) -> None:
    options = arguments(__doc__, argv, rounds=6)
    size, warm_up, steps = (QUICK, 1, 2) if options.quick else (FULL, 2, 5)
    contenders = contenders_of(size)
    measured = measure(contenders, options.clock, options.rounds, warm_up, steps)
    publish(
        [
            f"## A training step\n\n{size}. TRL and vanilla: reverse KL to the teacher over the full vocabulary; DOPD: "
            f"its regimes. Medians of {options.rounds * steps} steps. {machine(options.clock)}.",
            totals_table(measured, list(dict.fromkeys([contenders[0].name, VANILLA]))),
            "A forward pass is the body without its head.",
            parts_table(measured, ROWS),
        ],
        options.out,
    )


if __name__ == "__main__":
    main()
