from __future__ import annotations

import pytest
from reasoning_gym import create_dataset

from dopd_lightning.data.tasks import HINT_KINDS, TASKS
from dopd_lightning.data.tasks.task import final_answer, general_hint


def test_general_hints_need_nothing_but_an_answer() -> None:
    assert general_hint({"answer": "41"}, "answer") == "The final answer is 41."
    assert general_hint({"answer": "41"}, "none") is None


def test_the_final_answer_stands_in_tags() -> None:
    assert final_answer(-41) == "<answer>-41</answer>"


@pytest.mark.parametrize("name", TASKS)
def test_every_task_is_registered_under_its_own_name_and_has_every_kind_of_hint(name: str) -> None:
    task = TASKS[name]
    entry = create_dataset(name, seed=0, size=1)[0]
    hints = {kind: task.hint(entry, kind) for kind in HINT_KINDS}
    assert task.name == name == entry["metadata"]["source_dataset"]
    assert hints.pop("none") is None
    assert hints["answer"] == f"The final answer is {entry['answer']}."
    assert all(hints.values())
    assert len(set(hints.values())) == len(hints)
