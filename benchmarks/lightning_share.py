"""Time that Lightning adds to a step: ``Trainer.fit`` against the same steps in a bare loop.

    python -m benchmarks.lightning_share

Both are vanilla distillation by `DOPDModule`, with the scheduler and the clipping of a real run; blocks alternate.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from transformers import get_scheduler

from benchmarks.contenders import ROWS, bare, fit, measure
from benchmarks.models import FULL, QUICK
from benchmarks.tables import arguments, machine, parts_table, publish, totals_table
from dopd_lightning.fusion import Teacher

BARE = "bare loop"
COSINE = partial(get_scheduler, "cosine", num_warmup_steps=0)


def main(argv: Sequence[str] | None = None) -> None:
    options = arguments(__doc__, argv, rounds=6)
    size, warm_up, steps = (QUICK, 1, 2) if options.quick else (FULL, 2, 5)
    contenders = [
        bare(BARE, size, Teacher(), privileged=False, scheduler=COSINE),
        fit("Trainer.fit", size, Teacher(), privileged=False, scheduler=COSINE),
    ]
    measured = measure(contenders, options.clock, options.rounds, warm_up, steps)
    publish(
        [
            f"## Lightning's share of a step\n\n{size}. Medians of {options.rounds * steps} steps. "
            f"{machine(options.clock)}.",
            totals_table(measured, [BARE]),
            "What Lightning adds is in `logging`, `optimizer` (it steps through a closure) and `other`.",
            parts_table(measured, ROWS),
        ],
        options.out,
    )


if __name__ == "__main__":
    main()
