"""The benchmarks of the loss alone measure what they say."""

from __future__ import annotations

import sys

import pytest
import torch

from benchmarks import loss, loss_memory
from benchmarks.loss_contenders import (
    BUCKET,
    JS,
    QUICK,
    RENORMALIZE,
    REVERSE_KL,
    TRL_JS,
    TRL_REVERSE_KL,
    Inputs,
    LossSize,
    loss_contenders,
)


@pytest.fixture
def report(tmp_path, monkeypatch):
    """Run a benchmark without TRL; return the cells of its tables by the first of each row, the last one counting."""
    monkeypatch.setitem(sys.modules, "trl.kernels.chunked_divergence", None)

    def run(benchmark):
        path = tmp_path / "report.md"
        benchmark.main(["--quick", "--out", str(path)])
        lines = (line.strip("| ").split(" | ") for line in path.read_text(encoding="utf-8").splitlines() if "|" in line)
        return {first: rest for first, *rest in lines}

    return run


def test_products_are_counted(report):
    rows = report(loss)
    products = {name: float(rows[name][0]) for name in (BUCKET, RENORMALIZE, JS, REVERSE_KL)}
    in_full = 0.2  # of the tokens: HT's, whose teacher is scored a second time
    assert products[JS] == products[REVERSE_KL] == 4
    assert products[BUCKET] == pytest.approx(5 + in_full)
    assert products[RENORMALIZE] == pytest.approx(
        3 + 3 * in_full, abs=0.1
    )  # and K rows of the head for each other token


@pytest.mark.parametrize(("own", "peer"), [(JS, TRL_JS), (REVERSE_KL, TRL_REVERSE_KL)])
def test_a_peer_has_the_same_gradients(own, peer):
    pytest.importorskip("trl.kernels.chunked_divergence")
    inputs, contenders, found = Inputs(QUICK), loss_contenders(QUICK), []
    for name in (own, peer):
        inputs.forget()
        contenders[name].step(inputs)
        found.append((inputs.student.grad, inputs.student_weight.grad))
    torch.testing.assert_close(*found, rtol=1e-4, atol=1e-7)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_peak_has_the_gradient_of_the_head_unless_it_is_frozen():
    size = LossSize(tokens=4, vocabulary=100_000, width=128, top_k=8)
    learning, frozen = (loss_memory.peak_here(BUCKET, size, frozen) for frozen in (False, True))
    times = (learning - frozen) / (4 * size.vocabulary * size.width)
    assert 0.5 < times < 1.5  # once: not left out, not twice. The allocator moves each of the two peaks by some MiB


def test_memory_is_compared_by_contender_and_by_number_of_tokens(report, monkeypatch):
    monkeypatch.setattr(loss_memory, "peak", lambda name, size, frozen=False: 10**6 * (size.tokens + (not frozen) * 3))
    rows = report(loss_memory)
    assert [rows[BUCKET][column] for column in (0, 2, 4)] == ["67", "65", "64"]
    assert rows["1,024"] == ["1027", "960", "1"]
