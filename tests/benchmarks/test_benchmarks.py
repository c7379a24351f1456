"""The benchmarks run, at sizes that measure nothing."""

from __future__ import annotations

import sys

import pytest

from benchmarks import lightning_share, map_page, memory, profile_step, step, watching


@pytest.fixture
def report(tmp_path, capsys):
    """Run a benchmark; return the cells of its tables by the first of each row, and all that it printed."""

    def run(benchmark):
        path = tmp_path / "report.md"
        benchmark.main(["--quick", "--out", str(path)])
        written, printed = path.read_text(encoding="utf-8"), capsys.readouterr().out
        assert printed.endswith(written)
        lines = (line.strip("| ").split(" | ") for line in written.splitlines() if line.startswith("|"))
        return {first: rest for first, *rest in lines}, printed

    return run


def test_a_step_without_trl_is_ours_alone_and_says_so(report, monkeypatch):
    monkeypatch.setitem(sys.modules, "trl", None)
    rows, printed = report(step)
    assert "trl is not installed" in printed
    assert rows["part, ms"] == ["vanilla", "DOPD"]
    vanilla, dopd = map(float, rows["reference forward"])
    assert vanilla == 0 < dopd


def test_lightning_is_compared_with_a_bare_loop_which_logs_nothing(report):
    rows, _ = report(lightning_share)
    bare, fit = map(float, rows["logging"])
    assert bare == 0 < fit
    assert rows["bare loop"][-1] == "1.000"


def test_a_profile_has_parts_rooms_and_operators(report):
    rows, _ = report(profile_step)
    forward = {"student forward", "teacher forward", "reference forward"}
    assert {"rollout", *forward, "fusion", "divergence", "backward", "optimizer"} <= set(rows)
    assert any(name.startswith("`aten::") for name in rows)


def test_what_watching_adds_is_told_by_callback(report, tmp_path, monkeypatch):
    for name in ("WANDB_DIR", "WANDB_CACHE_DIR", "WANDB_CONFIG_DIR", "WANDB_DATA_DIR"):
        monkeypatch.setenv(name, str(tmp_path))
    rows, printed = report(watching)
    parts = [name for name in rows if name.startswith(("DivergenceMap", "CollapseGuard", "Speed"))]
    assert len(parts) == 4
    assert all(float(rows[name][0]) > 0 for name in parts if name.startswith("DivergenceMap"))
    assert float(rows["all of these"][0]) == pytest.approx(sum(float(rows[name][0]) for name in parts), abs=0.3)
    assert "2 maps" in printed


def test_memory_is_less_with_checkpointing_and_with_shares(report):
    rows, _ = report(memory)
    ddp, ddp_checkpointing, fsdp, fsdp_checkpointing = map(float, rows["1.7B → 0.6B"])
    assert ddp >= ddp_checkpointing > fsdp >= fsdp_checkpointing > 0
    largest = max(float(rows[f"**during {phase}**"][0]) for phase in ("rollouts", "the step", "the update"))
    assert largest == ddp


def test_a_map_has_a_size_and_leaves_nothing_out_when_small(report):
    rows, _ = report(map_page)
    for name in ("like a run's", "at random"):
        size, encoding, together, _, left_out = rows[name]
        assert 0 < float(size) < 1
        assert max(float(encoding), float(together)) < 10
        assert left_out.startswith("nothing")
