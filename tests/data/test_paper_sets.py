from __future__ import annotations

import copy
from pathlib import Path
from typing import Any, Protocol

import pytest

from dopd_lightning.data import DAPOMath, RaRScience, SkyworkCode, get_verifier
from dopd_lightning.errors import DataError

datasets = pytest.importorskip("datasets")

from tests.data.paper_rows import DAPO_MATH, RAR_SCIENCE, SETS, SKYWORK_CODE, write  # noqa: E402

LOADERS = {"rar_science": RaRScience, "dapo_math": DAPOMath, "skywork_code": SkyworkCode}


class Load(Protocol):
    def __call__(self, name: str, rows: list[dict[str, Any]] | None = None) -> Any: ...


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Load:
    """The set of this name, with these rows instead of its own."""
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    datasets.disable_progress_bars()

    def loaded(name: str, rows: list[dict[str, Any]] | None = None) -> Any:
        file = write(SETS[name] if rows is None else rows, tmp_path / "rows.parquet")
        return LOADERS[name]("parquet", "train", data_files=file)

    return loaded


def changed(rows: list[dict[str, Any]], number: int, *place: str | int, to: Any) -> list[dict[str, Any]]:
    """The rows with another value at a place of one of them."""
    rows = copy.deepcopy(rows)
    inner: Any = rows[number]
    for name in place[:-1]:
        inner = inner[name]
    inner[place[-1]] = to
    return rows


# ---------------------------------------------------------------------------------------------- what a row becomes


def test_a_question_of_science_is_a_chat_with_the_reference_answer(load: Load) -> None:
    assert load("rar_science")[1] == {
        "prompt": [{"role": "user", "content": RAR_SCIENCE[1]["question"]}],
        "answer": RAR_SCIENCE[1]["reference_answer"],
        "completion": RAR_SCIENCE[1]["reference_answer"],
        "source": "rar_science",
    }


def test_a_problem_of_mathematics_is_its_chat_with_the_ground_truth(load: Load) -> None:
    example = load("dapo_math")[0]
    assert example == {"prompt": DAPO_MATH[0]["prompt"], "answer": "21", "source": "dapo_math"}
    verify = get_verifier("math_verify")
    assert verify("Three sevens.\nAnswer: 21", example) == 1
    assert verify("Three sevens.\nAnswer: 24", example) == 0


def test_a_programming_problem_is_its_chat_without_its_tests(load: Load) -> None:
    assert load("skywork_code")[3] == {"prompt": SKYWORK_CODE[3]["prompt"], "source": "skywork_code"}


@pytest.mark.parametrize("name", SETS)
def test_each_prompt_comes_once_in_the_order_of_the_set(load: Load, name: str) -> None:
    many = SETS[name] * 501  # more than are looked at at once
    examples = [*load(name, many)]
    assert examples == [load(name)[n] for n in range(len(examples))]
    prompts = [example["prompt"][0]["content"] for example in examples]
    asked = [row.get("question") or row["prompt"][0]["content"] for row in SETS[name]]
    assert prompts == list(dict.fromkeys(asked))


def test_what_comes_first_has_the_answer(load: Load) -> None:
    again = changed(DAPO_MATH, 4, "reward_model", "ground_truth", to="22")
    assert load("dapo_math", again)[0]["answer"] == "21"


# ---------------------------------------------------------------------------------------------------- bad rows

BAD = [
    ("rar_science", 2, ("question",), None, "row 2: 'question' must be text, found null"),
    ("rar_science", 2, ("reference_answer",), " \n", r"row 2: 'reference_answer' must be text, found str ' \\n'"),
    ("dapo_math", 3, ("prompt",), [], "row 3: 'prompt' is an empty list"),
    ("dapo_math", 3, ("prompt", 0, "content"), None, r"row 3: prompt\[0\] needs a 'content' that is text, found null"),
    (
        "dapo_math",
        3,
        ("reward_model", "ground_truth"),
        "",
        "row 3: 'reward_model.ground_truth' must be text, found str",
    ),
    ("dapo_math", 3, ("reward_model",), None, "row 3: 'reward_model.ground_truth' must be text, found null"),
    ("skywork_code", 1, ("ability",), "math", "row 1: 'ability' must be 'code', found str 'math'; use split=code"),
    ("skywork_code", 1, ("prompt", 0, "role"), None, r"row 1: prompt\[0\] needs a 'role' that is text, found null"),
]


@pytest.mark.parametrize(("name", "number", "place", "value", "message"), BAD)
def test_a_bad_row_is_named_by_its_number_in_the_set(
    load: Load, name: str, number: int, place: tuple[str | int, ...], value: Any, message: str
) -> None:
    bad = changed(SETS[name], number, *place, to=value)
    first = SETS[name][:1] * 3  # repeats before it: the number counts all rows
    examples = load(name, first + bad)
    with pytest.raises(DataError, match=message.replace(f"row {number}", f"row {number + 3}")):
        list(examples)


@pytest.mark.parametrize("name", SETS)
def test_another_set_is_told_from_its_columns(load: Load, name: str) -> None:
    with pytest.raises(
        DataError, match=f"no column .* among 'text'; is this the dataset that {LOADERS[name].__name__} reads"
    ):
        load(name, [{"text": "Once."}])
