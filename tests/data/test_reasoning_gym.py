from __future__ import annotations

import pickle
import zlib
from typing import Any

import pytest

from dopd_lightning.data.reasoning_gym import SPLITS, ReasoningGymDataset, split_of
from dopd_lightning.data.tasks import HINT_KINDS, TASKS
from dopd_lightning.data.verifiers import reasoning_gym
from dopd_lightning.errors import ConfigError


def examples(*args: Any, **settings: Any) -> list[Any]:
    dataset = ReasoningGymDataset(*args, **settings)
    return [dataset[n] for n in range(len(dataset))]


def questions(dataset: Any) -> list[str]:
    return [example["entry"]["question"] for example in dataset]


def test_a_question_belongs_to_one_split_by_its_text() -> None:
    texts = [f"What is {n} + 1?" for n in range(3000)]
    for text in texts:
        assert split_of(text) == {0: "test", 1: "val"}.get(zlib.crc32(text.encode()) % 10, "train")
    shares = {split: sum(split_of(text) == split for text in texts) / len(texts) for split in SPLITS}
    assert shares == pytest.approx({"train": 0.8, "val": 0.1, "test": 0.1}, abs=0.03)


@pytest.mark.parametrize("task", [*TASKS, "maze"])
@pytest.mark.parametrize("split", SPLITS)
def test_every_example_is_of_its_split_whatever_the_seed(task: str, split: str) -> None:
    for seed in range(2):
        dataset = ReasoningGymDataset(task, 25, split, seed=seed, hint="none", chat=False)
        assert len(questions(dataset)) == 25
        assert {split_of(question) for question in questions(dataset)} == {split}


def test_small_splits_share_no_problem() -> None:
    """There are only 90 sums of two digits, so that a leak would show."""
    params = {"min_terms": 2, "max_terms": 2, "min_digits": 1, "max_digits": 1}
    train, val, test = (
        set(questions(ReasoningGymDataset("chain_sum", size, split, seed=seed, params=params)))
        for size, split, seed in ((1000, "train", 0), (10, "val", 1), (10, "test", 2))
    )
    assert not train & val
    assert not train & test
    assert not val & test


@pytest.mark.parametrize("split", ["val", "test"])
def test_held_out_problems_are_all_different(split: str) -> None:
    params = {"min_terms": 2, "max_terms": 2, "min_digits": 1, "max_digits": 1}
    found = questions(ReasoningGymDataset("chain_sum", 15, split, params=params))
    assert len(set(found)) == len(found) == 15


def test_held_out_problems_as_they_come_are_distributed_as_in_training() -> None:
    """Few pairs up to 40 are for testing, and the generator makes those of divisor 1 too seldom."""

    def share_of_1(size: int, split: str, **settings: Any) -> float:
        found = examples("gcd", size, split, params={"min_value": 2, "max_value": 40}, **settings)
        assert {split_of(example["entry"]["question"]) for example in found} == {split}
        return sum(example["answer"] == "1" for example in found) / size

    in_training = share_of_1(3000, "train")
    assert share_of_1(300, "test", distinct=False) == pytest.approx(in_training, abs=0.06)
    assert share_of_1(130, "test") > in_training + 0.2


def test_more_held_out_problems_than_there_are_is_an_error() -> None:
    params = {"min_terms": 2, "max_terms": 2, "min_digits": 1, "max_digits": 1}
    with pytest.raises(ConfigError, match=r"size: 500 is more than the \d\d different problems found for 'chain_sum'"):
        ReasoningGymDataset("chain_sum", 500, "test", params=params)


@pytest.mark.parametrize("task", TASKS)
def test_an_item_is_the_same_each_time_and_in_any_order(task: str) -> None:
    settings: dict[str, Any] = {"hint": ["steps", "answer", "none"], "completions": True}
    again = ReasoningGymDataset(task, 30, **settings)
    assert [again[n] for n in reversed(range(30))][::-1] == examples(task, 30, **settings)
    assert again[-1] == again[29]
    with pytest.raises(IndexError):
        again[30]


def test_neighbouring_seeds_give_unrelated_problems() -> None:
    one, two = (set(questions(ReasoningGymDataset("chain_sum", 300, seed=seed))) for seed in (0, 1))
    assert len(one & two) < 15


def test_a_dataset_of_a_billion_problems_is_made_as_they_are_asked_for() -> None:
    dataset = ReasoningGymDataset("chain_sum", 10**9)
    assert len(dataset) == 10**9
    assert split_of(questions([dataset[10**9 - 1]])[0]) == "train"


def test_an_example_as_chat_and_as_text() -> None:
    chat, text = (ReasoningGymDataset("chain_sum", 1, chat=chat)[0] for chat in (True, False))
    assert chat["prompt"] == [{"role": "user", "content": chat["entry"]["question"]}]
    assert text["prompt"] == text["entry"]["question"]
    assert chat["answer"] == chat["entry"]["answer"]
    assert "completion" not in chat


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("kind", HINT_KINDS)
def test_the_hint_is_of_the_kind_asked_for(task: str, kind: str) -> None:
    example = ReasoningGymDataset(task, 1, hint=kind)[0]
    assert example["privileged"] == TASKS[task].hint(example["entry"], kind)


@pytest.mark.parametrize("split", ["train", "test"])
def test_of_several_kinds_each_example_gets_one_by_chance(split: str) -> None:
    """The kind must not hang together with the split, as it would if both came from the question's checksum."""
    found = examples("chain_sum", 400, split, hint=["answer", "none"])
    share = sum(example["privileged"] is None for example in found) / 400
    assert share == pytest.approx(0.5, abs=0.1)


@pytest.mark.parametrize("task", TASKS)
def test_completions_are_right_by_the_tasks_own_scorer(task: str) -> None:
    for example in examples(task, 200, completions=True):
        assert reasoning_gym(example["completion"], example) == 1.0


def test_problems_whose_own_answer_is_not_accepted_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    from reasoning_gym.arithmetic import ChainSumDataset

    def refuses_negative(self: object, answer: str, entry: dict[str, Any]) -> float:
        return 0.0 if answer.startswith("-") else 1.0

    assert any(example["answer"].startswith("-") for example in examples("chain_sum", 50))
    monkeypatch.setattr(ChainSumDataset, "score_answer", refuses_negative)
    assert not any(example["answer"].startswith("-") for example in examples("chain_sum", 50))


@pytest.mark.parametrize("task", [*TASKS, "rubiks_cube"])
@pytest.mark.parametrize("split", ["train", "val"])
def test_datasets_and_examples_can_be_sent_to_workers(task: str, split: str) -> None:
    dataset = ReasoningGymDataset(task, 3, split, hint="none")
    assert pickle.loads(pickle.dumps(dataset[0])) == dataset[0]
    assert questions(pickle.loads(pickle.dumps(dataset))) == questions(dataset)


def test_any_dataset_of_reasoning_gym_can_be_used_without_hints() -> None:
    example = ReasoningGymDataset("maze", 1, hint="answer")[0]
    assert example["privileged"] == f"The final answer is {example['answer']}."
    assert reasoning_gym(f"<answer>{example['answer']}</answer>", example) == 1.0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"task": "chain_some"}, "task: 'chain_some' is not a dataset of reasoning-gym; did you mean chain_sum"),
        ({"task": "zzzzzz"}, r"it has \d+, such as basic_arithmetic, chain_sum, gcd, gsm_symbolic"),
        (
            {"task": "maze"},
            "hint: 'steps' exists only for the tasks basic_arithmetic, chain_sum, gcd, gsm_symbolic; 'maze'",
        ),
        (
            {"task": "maze", "hint": "none", "completions": True},
            "completions: they exist only for the tasks basic_arithmetic, chain_sum, gcd, gsm_symbolic",
        ),
        ({"hint": "steos"}, "hint: 'steos' is not one of answer, none, steps, steps_executed, summary"),
        ({"hint": ["none", "all"]}, "hint: 'all' is not one of"),
        ({"hint": []}, "hint: the list is empty"),
        ({"split": "dev"}, "split: 'dev' is not one of test, train, val"),
        ({"size": 0}, "size: 0 must be at least 1"),
        ({"params": {"min_term": 3}}, "params: 'min_term' is not one of .*min_terms"),
        ({"params": {"size": 3}}, "params: 'size' is not one of"),
        (
            {"params": {"min_terms": 5, "max_terms": 2, "min_digits": 1}},
            r"refuses min_terms=5, max_terms=2 \(max_terms must be >= min_terms\)",
        ),
        ({"params": {"min_terms": "three"}}, "refuses min_terms='three'"),
        ({"task": "gsm_symbolic", "params": {"difficulty": 2.0}}, r"refuses difficulty=2.0 \(it gives no reason\)"),
    ],
)
def test_a_setting_that_cannot_work_is_named(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ReasoningGymDataset(**{"task": "chain_sum", "size": 5, **settings})
