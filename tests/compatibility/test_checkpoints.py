"""Checkpoints and maps of an earlier version load."""

from __future__ import annotations

import pytest
import torch

from dopd_lightning.maps import Snapshot, render_page
from tests.compatibility.runs import FILES, go_on
from tests.distributed.together import together


@pytest.mark.parametrize("strategy", ["auto", "ddp", "fsdp"])
@pytest.mark.parametrize("left_by", ["one", "ddp", "fsdp"])
def test_a_run_goes_on_from_its_checkpoint(left_by, strategy):
    path = FILES / f"{left_by}.ckpt"
    saved = torch.load(path, weights_only=True)
    for found in together(1 if strategy == "auto" else 2, go_on, strategy, str(path)):
        assert (found["step"], found["steps"]) == (2, 4)
        for name, weight in found["student"].items():
            assert weight.equal(saved["state_dict"][f"student.{name}"]), name
        for name, weight in found["reference"].items():
            assert weight.equal(saved["state_dict"][f"reference.weights.{name}"]), name
        assert not found["ended"]["lm_head.weight"].equal(found["student"]["lm_head.weight"])
        assert found["regimes"].sum() > sum(saved["regime_counts"])


def test_a_map_is_shown():
    snapshot = Snapshot.load(FILES / "map.npz")
    assert {"gap", "teacher_divergence", "reference_probability"} <= {*snapshot.responses[0].quantities}
    assert "teacher" in render_page([snapshot], title="Before")
