"""The loss alone, forward and backward: TRL's fused loss and ours, and how long their matrix products have to take.

    python -m benchmarks.loss

It starts from last hidden states, and ends with their gradient and the head's. Contenders take turns in one process.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence

import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.loss_contenders import (
    FULL,
    PEER,
    QUICK,
    SHARES,
    Inputs,
    LossSize,
    loss_contenders,
)
from benchmarks.tables import arguments, machine, publish, table


def products_of(size: LossSize) -> dict[str, Callable[[], object]]:
    """The three products that a loss is made of, each by one call of ``torch.mm`` into memory that is there."""
    states, weight = torch.randn(size.tokens, size.width), torch.randn(size.vocabulary, size.width)
    logits, of_states, of_weight = torch.randn(size.tokens, size.vocabulary), states.clone(), weight.clone()
    return {
        "logits": lambda: torch.mm(states, weight.t(), out=logits),
        "gradient by states": lambda: torch.mm(logits, weight, out=of_states),
        "gradient by weights": lambda: torch.mm(logits.t(), states, out=of_weight),
    }


def operations(size: LossSize) -> int:
    """Return the number of operations of one product: multiplications and additions."""
    return 2 * size.tokens * size.vocabulary * size.width


def products_in(step: Callable[[], None], size: LossSize) -> float:
    """Return the number of products of (tokens x width x vocabulary) in a step."""

    def in_place(total: torch.Size, a: torch.Size, b: torch.Size, **_: object) -> int:
        return 2 * a[0] * a[1] * b[1]

    with FlopCounterMode(display=False, custom_mapping={torch.ops.aten.addmm_: in_place}) as counter:
        step()
    return counter.get_total_flops() / operations(size)


def seconds_of(
    calls: Mapping[str, Callable[[], object]], forget: Callable[[], None], clock: Callable[[], float], rounds: int
) -> dict[str, list[float]]:
    """Return the seconds of each call, ``rounds`` times, in turns."""
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for number in range(rounds):
        for name in list(calls)[:: -1 if number % 2 else 1]:  # nobody always follows the same one
            forget()
            start = clock()
            calls[name]()
            seconds[name].append(clock() - start)
    return seconds


def times_table(seconds: Mapping[str, Sequence[float]]) -> str:
    """Median of each contender, and its ratio to TRL's."""
    medians = {name: statistics.median(found) for name, found in seconds.items()}
    rows = []
    for name, found in seconds.items():
        peer = PEER.get(name)
        ratio = f"{medians[name] / medians[peer]:.3f}" if peer in medians else ""
        rows.append([name, f"{medians[name]:.3f}", f"{min(found):.3f} to {max(found):.3f}", ratio])
    return table(["loss", "s", "all rounds, s", "of TRL's"], rows)


def products_table(seconds: Mapping[str, Sequence[float]], size: LossSize) -> str:
    """Return a table of the machine's speed at products."""
    rows = [
        [name, f"{statistics.median(found):.3f}", f"{min(found):.3f}", f"{operations(size) / min(found) / 1e9:.0f}"]
        for name, found in seconds.items()
    ]
    return table(["torch.mm", "s", "fastest, s", "GFLOP/s"], rows)


def limits_table(seconds: Mapping[str, Sequence[float]], counts: Mapping[str, float], fastest: float) -> str:
    """Return a table of each contender's time beside that of its products at the machine's best."""
    rows = []
    for name, count in counts.items():
        median, limit = statistics.median(seconds[name]), count * fastest
        rows.append([name, f"{count:.2f}", f"{limit:.3f}", f"{median:.3f}", f"{median / limit:.2f}"])
    return table(["loss", "products", "limit, s", "s", "times the limit"], rows)


def main(argv: Sequence[str] | None = None) -> None:
    options = arguments(__doc__, argv, rounds=5)
    size = QUICK if options.quick else FULL
    inputs = Inputs(size)
    steps = {name: lambda step=contender.step: step(inputs) for name, contender in loss_contenders(size).items()}
    counts = {}
    for name, step in steps.items():  # the warm-up
        inputs.forget()
        counts[name] = products_in(step, size)
    products = products_of(size)
    seconds = seconds_of({**steps, **products}, inputs.forget, options.clock, options.rounds)
    of_steps, of_products = ({name: seconds[name] for name in names} for names in (steps, products))
    fastest = min(min(found) for found in of_products.values())
    shares = ", ".join(f"{regime.name} {share:.0%}" for regime, share in SHARES.items())
    publish(
        [
            f"## The loss alone\n\n{size.tokens} response tokens; {size}. DOPD: both sources are scored, {shares}; the "
            f"routing itself is given. All make the student's entropy, too. TRL's is the same divergence, for DOPD JS. "
            f"Medians of {options.rounds} rounds. "
            f"{machine(options.clock)}.",
            times_table(of_steps),
            f"A product is (tokens x width x vocabulary), {operations(size) / 1e9:.3g} GFLOP:",
            products_table(of_products, size),
            "What the products of each have to take, if all are as fast as the fastest of these:",
            limits_table(of_steps, counts, fastest),
        ],
        options.out,
    )


if __name__ == "__main__":
    main()
