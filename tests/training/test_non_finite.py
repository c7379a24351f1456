from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch

from dopd_lightning.record import TokenRecord
from dopd_lightning.training.non_finite import NonFiniteLossError, check_finite

ZEROS = torch.zeros(1, 2)
RECORD = TokenRecord(ZEROS.long(), ZEROS.bool(), ZEROS, logp={"student": ZEROS, "maths": ZEROS}, entropy={})
NAN, INF = float("nan"), float("inf")


def test_finite_numbers_pass_and_leave_nothing_behind(tmp_path):
    check_finite(torch.tensor(1.0), RECORD, 3, [{"prompt": "a"}], tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("loss", "record", "what"),
    [
        (NAN, RECORD, "loss"),
        (INF, RECORD, "loss"),
        (1.0, replace(RECORD, logp=RECORD.logp | {"teacher": torch.tensor([[0.0, NAN]])}), "teacher_logp"),
        (1.0, replace(RECORD, logp=RECORD.logp | {"maths": torch.tensor([[0.0, NAN]])}), "maths_logp"),
    ],
)
def test_any_other_stops_with_the_step_and_the_prompts_in_a_file(tmp_path, loss, record, what):
    path = tmp_path / "new" / "non_finite_loss_step_3.json"
    examples = [{"prompt": "naïve", "privileged": "p", "answer": "1"}]
    with pytest.raises(
        NonFiniteLossError, match=rf"the {what} of step 3 is not finite; its prompts are in .*{path.name}"
    ):
        check_finite(torch.tensor(loss), record, 3, examples, path.parent)
    assert json.loads(path.read_text(encoding="utf-8")) == [{"prompt": "naïve", "privileged": "p"}]
