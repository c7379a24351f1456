from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader, default_collate

from dopd_lightning.data.collate import collate, examples_of
from dopd_lightning.data.example import OPTIONAL_FIELDS, Example
from dopd_lightning.errors import DataError


def chat(*contents: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": content} for content in contents]


def test_collate_makes_columns_with_none_for_what_is_missing() -> None:
    assert collate([{"prompt": "a", "answer": 1}, {"prompt": "b", "privileged": "hint"}]) == {
        "prompt": ["a", "b"],
        "privileged": [None, "hint"],
        "answer": [1, None],
        "completion": [None, None],
    }


texts = st.text(min_size=1).filter(str.strip)
prompts = texts | st.lists(
    st.fixed_dictionaries({"role": st.sampled_from(["system", "user"]), "content": texts}), min_size=1, max_size=3
)
examples = st.fixed_dictionaries(
    {"prompt": prompts},
    optional={
        "privileged": st.none() | st.text(),
        "answer": st.none() | st.text() | st.integers(),
        "completion": st.none() | st.text(),
        "entry": st.just({"question": "q", "metadata": {"fraction": Fraction(1, 2), "list": [1, 2, 3]}}),
    },
)


@given(st.lists(examples, min_size=1, max_size=4))
def test_collating_and_back_gives_the_same_examples(batch: list[Example]) -> None:
    for before, after in zip(batch, examples_of(collate(batch)), strict=True):
        assert {name: value for name, value in after.items() if value is not None} == {
            name: value for name, value in before.items() if value is not None
        }
        assert set(OPTIONAL_FIELDS) < set(after)


def test_a_list_of_examples_is_a_batch() -> None:
    batch = [{"prompt": "a", "answer": 1}, {"prompt": chat("b"), "privileged": "hint"}]
    assert examples_of(batch) == batch
    assert examples_of(tuple(batch)) == batch


@pytest.mark.parametrize("prompt", ["a", chat("a"), chat("a", "b")])
def test_a_single_example_is_a_batch_of_one(prompt: Any) -> None:
    example = {"prompt": prompt, "privileged": "hint", "answer": "4"}
    assert examples_of(example) == [example]
    assert examples_of({**example, "prompt": tuple(prompt) if isinstance(prompt, list) else prompt}) == [example]


@pytest.mark.parametrize("size", [1, 2, 3])
def test_chats_that_default_collate_turned_inside_out_are_turned_back(size: int) -> None:
    """The two directions are easily confused with as many messages as examples."""
    batch = [
        {
            "prompt": [{"role": "system", "content": f"s{n}"}, {"role": "user", "content": f"u{n}"}],
            "privileged": f"hint {n}",
            "answer": n,
            "entry": {
                "question": f"q{n}",
                "answer": str(n),
                "metadata": {"terms": [n, n + 1], "names": [f"a{n}", "b"]},
            },
        }
        for n in range(size)
    ]
    assert isinstance(default_collate(batch)["prompt"][0], dict)
    assert examples_of(default_collate(batch)) == batch


def test_plain_prompts_through_a_default_dataloader() -> None:
    data = [{"prompt": f"p{n}", "answer": n / 2} for n in range(4)]
    loader: DataLoader[Any] = DataLoader(data, batch_size=2)  # type: ignore[arg-type]
    assert [example for batch in loader for example in examples_of(batch)] == data


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        ({"input_ids": 1, "labels": 2}, "batch: no 'prompt' among the keys 'input_ids', 'labels'"),
        ({}, r"batch: no 'prompt' among the keys \(none\)"),
        (torch.zeros(2), "expected a dict with 'prompt' or a list of such dicts, found Tensor"),
        ({"prompt": torch.zeros(2)}, "batch: 'prompt' must be text or a list of chat messages, found Tensor"),
        ([{"prompt": "a"}, {"question": "b"}], "batch, example 1: no 'prompt' among the keys 'question'"),
        ([torch.zeros(2)], "batch, example 0: expected an object with a 'prompt', found Tensor"),
        (
            {"prompt": ["a", "b"], "answer": [1]},
            "'answer' must be a list with one value for each of the 2 prompts, found 1",
        ),
        ({"prompt": ["a", "b"], "answer": "12"}, "'answer' must be a list .* found str"),
        ({"prompt": ["a", 5]}, "batch, example 1: 'prompt' must be text or a list of chat messages, found int 5"),
        ({"prompt": [None]}, "batch, example 0: 'prompt' must be text"),
    ],
)
def test_what_is_no_batch_is_named(batch: object, message: str) -> None:
    with pytest.raises(DataError, match=message):
        examples_of(batch)


@pytest.mark.parametrize("batch", [[], {"prompt": []}, collate([])], ids=["list", "columns", "collated"])
def test_one_of_several_processes_may_have_nothing_left_to_read(batch: object) -> None:
    assert examples_of(batch) == []
