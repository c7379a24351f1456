"""An error known to one process ends all of them with the same sentence, instead of leaving the others waiting."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dopd_lightning.callbacks import ExportStudent, ResumableCheckpoint
from tests.distributed.together import together
from tests.distributed.training import Case, examples, failures

LONG = {**examples(1)[0], "prompt": "step " * 600}
UNANSWERED = {**examples(1)[0], "completion": None}
FEW = Case(batches=[examples(4)[:2], examples(4)[2:]])


@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_an_error_of_one_process_is_that_of_all(strategy, tmp_path):
    (tmp_path / "file").touch()
    cases = [
        (replace(FEW, batches=[examples(2), [examples(1)[0], LONG]]), None),
        (replace(FEW, batches=[examples(2), [examples(1)[0], UNANSWERED]]), None),
        (FEW, ResumableCheckpoint(tmp_path / "file" / "checkpoints", every_n_steps=1)),
        (FEW, ExportStudent(tmp_path / "file" / "student")),
    ]
    first, second = together(2, failures, *((replace(case, strategy=strategy), callback) for case, callback in cases))
    assert first == second
    for said, start in zip(
        first,
        (
            "DataError: a prompt has 6",
            "DataError: example 0 of the batch has no `completion`",
            "WriteError: the checkpoint '",
            "WriteError: the student '",
        ),
        strict=True,
    ):
        assert said.startswith(start)
