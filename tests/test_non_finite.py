from __future__ import annotations

import json

import pytest
import torch

from dopd_lightning.non_finite import NonFiniteLossError, check_finite


def test_a_finite_loss_passes_and_leaves_nothing_behind(tmp_path):
    check_finite(torch.tensor(1.0), 3, [{"prompt": "a"}], tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_any_other_stops_with_the_step_and_the_prompts_in_a_file(tmp_path, value):
    path = tmp_path / "new" / "non_finite_loss_step_3.json"
    with pytest.raises(NonFiniteLossError, match=f"step 3 is {value}; its prompts are in .*{path.name}"):
        check_finite(torch.tensor(value), 3, [{"prompt": "naïve", "privileged": "p", "answer": "1"}], tmp_path / "new")
    assert json.loads(path.read_text(encoding="utf-8")) == [{"prompt": "naïve", "privileged": "p"}]
