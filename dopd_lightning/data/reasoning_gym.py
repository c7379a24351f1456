"""Problems from reasoning-gym, as many as wanted, split so that no held-out problem is ever trained on."""

from __future__ import annotations

import dataclasses
import difflib
import random
import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from torch.utils.data import Dataset

from dopd_lightning.data.example import Example
from dopd_lightning.data.tasks import GENERAL_HINT_KINDS, HINT_KINDS, TASKS, Entry, general_hint
from dopd_lightning.errors import ConfigError, check_choice, check_range

SPLITS = ("train", "val", "test")

_MOST_ROUNDS = 200
"""Draws in a row without a problem of this split before giving up: 4 in 5 problems are for training."""


def split_of(question: str) -> str:
    """The split that a question belongs to, by its text: 1 in 10 is for testing, 1 in 10 for validation.

    So splits never share a problem, whatever their seeds and sizes.
    """
    return {0: "test", 1: "val"}.get(zlib.crc32(question.encode()) % 10, "train")


class ReasoningGymDataset(Dataset[Example]):
    """Problems of one reasoning-gym generator, with privileged hints and worked solutions for the tasks that we write.

    Training problems are generated when asked for; an item is the same each time, and a problem may come up twice.
    Validation and test problems are generated at once, all different unless asked otherwise. Problems whose own answer
    reasoning-gym's scorer does not accept (negative ones of ``gsm_symbolic``) are left out.

    Args:
        task: name of a reasoning-gym dataset.
        size: number of examples.
        split: ``train``, ``val`` or ``test``; see :func:`split_of`.
        seed: which problems, and which kind of hint for each. Different seeds give unrelated problems.
        hint: kind of privileged text (:data:`~dopd_lightning.data.tasks.HINT_KINDS`), or several, of which each example
            gets one by chance.
        completions: add our worked solution as ``completion``.
        chat: the question as one user message; otherwise as plain text.
        distinct: whether held-out problems are all different. Where there are not many more than ``size``, that makes
            rare ones as frequent as common ones, which they are not in training: ``False`` takes them as they come.
        params: the generator's own settings, such as ``{"min_terms": 3}``.

    Attributes:
        generated: whether examples are made when asked for, so that to look at all would take long.

    Raises:
        ConfigError: for a task, kind of hint or setting that does not exist, or more held-out problems than there are.
    """

    def __init__(
        self,
        task: str,
        size: int,
        split: str = "train",
        seed: int = 0,
        hint: str | Sequence[str] = "steps",
        completions: bool = False,
        chat: bool = True,
        distinct: bool = True,
        params: Mapping[str, Any] | None = None,
    ) -> None:
        self.task = task
        self.size = int(check_range("size", size, at_least=1))
        self.split = check_choice("split", split, SPLITS)
        self.generated = split == "train"
        self.seed = seed
        self.kinds = (hint,) if isinstance(hint, str) else tuple(hint)
        self.completions = completions
        self.chat = chat
        self.params = dict(params or {})
        # reasoning-gym makes item i of seed s from s + i: seeds next to each other would share nearly all problems.
        self._first_seed = zlib.crc32(f"{task}/{seed}".encode()) >> 1
        self._rounds: dict[int, Any] = {}
        _check_task(task)
        self._check_hints()
        self._check_params()
        self._held_out = None if split == "train" else self._held_out_entries(distinct)

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> Example:
        if not -self.size <= index < self.size:
            raise IndexError(f"index {index} in {self.size} examples")
        index %= self.size
        entry = self._training_entry(index) if self._held_out is None else self._held_out[index]
        kind = random.Random(f"{self.seed}/{index}").choice(self.kinds)
        question = entry["question"]
        example: Example = {
            "prompt": [{"role": "user", "content": question}] if self.chat else question,
            "privileged": TASKS[self.task].hint(entry, kind) if self.task in TASKS else general_hint(entry, kind),
            "answer": entry["answer"],
            "entry": entry,
        }
        if self.completions:
            example["completion"] = TASKS[self.task].solution(entry)
        return example

    def _entry(self, round_: int, index: int) -> Entry | None:
        """The generator's problem at that place, or ``None`` if it is of another split or has no answer that counts."""
        if round_ not in self._rounds:
            self._rounds[round_] = self._generator(round_)
        generator = self._rounds[round_]
        try:
            entry: Entry = generator[index]
        except RuntimeError:  # some generators give up on some seeds
            return None
        answer = entry["answer"]
        right = answer is None or generator.score_answer(answer, entry) == 1.0
        return entry if right and split_of(entry["question"]) == self.split else None

    def _generator(self, round_: int) -> Any:
        """The generator of ``size`` problems that follow those of the round before."""
        import reasoning_gym  # takes 1.5 s, which those who train on their own data need not wait for

        return reasoning_gym.create_dataset(
            self.task, seed=self._first_seed + round_ * self.size, size=self.size, **self.params
        )

    def _training_entry(self, index: int) -> Entry:
        for round_ in range(_MOST_ROUNDS):
            entry = self._entry(round_, index)
            if entry is not None:
                return entry
        raise ConfigError(f"params: {self.params!r} leave {self.task!r} without problems for training")

    def _held_out_entries(self, distinct: bool) -> list[Entry]:
        entries: dict[Any, Entry] = {}
        for entry in self._all_entries(rounds=50 + 1000 // self.size):
            entries.setdefault(entry["question"] if distinct else len(entries), entry)
            if len(entries) == self.size:
                return list(entries.values())
        raise ConfigError(
            f"size: {self.size} is more than the {len(entries)} different problems found for {self.task!r} in the split"
            f" {self.split!r}; ask for fewer, or let params (now {self.params!r}) make more of them"
        )

    def _all_entries(self, rounds: int) -> Iterator[Entry]:
        for round_ in range(rounds):
            for index in range(self.size):
                entry = self._entry(round_, index)
                if entry is not None:
                    yield entry
            del self._rounds[round_]

    def _check_hints(self) -> None:
        if not self.kinds:
            raise ConfigError(f"hint: the list is empty; name at least one of {', '.join(HINT_KINDS)}")
        for kind in self.kinds:
            check_choice("hint", kind, HINT_KINDS)
            if self.task not in TASKS and kind not in GENERAL_HINT_KINDS:
                raise ConfigError(
                    f"hint: {kind!r} is written for the tasks {', '.join(TASKS)} only; {self.task!r} can have"
                    f" {' or '.join(GENERAL_HINT_KINDS)}"
                )
        if self.completions and self.task not in TASKS:
            raise ConfigError(f"completions: written for the tasks {', '.join(TASKS)} only, not for {self.task!r}")

    def _check_params(self) -> None:
        from reasoning_gym.factory import DATASETS

        known = {field.name for field in dataclasses.fields(DATASETS[self.task][1])} - {"seed", "size"}
        for name in self.params:
            check_choice("params", name, known)
        try:
            self._generator(0)
        except (AssertionError, TypeError, ValueError) as error:
            named = {name: value for name, value in self.params.items() if name in str(error)} or self.params
            settings = ", ".join(f"{name}={value!r}" for name, value in named.items()) or "the defaults"
            raise ConfigError(
                f"params: reasoning-gym's {self.task!r} refuses {settings} ({str(error) or 'it gives no reason'})"
            ) from error


def _check_task(task: str) -> None:
    from reasoning_gym.factory import DATASETS

    if task not in DATASETS:
        near = difflib.get_close_matches(task, DATASETS, n=4, cutoff=0.5)
        meant = f"did you mean {' or '.join(near)}?" if near else f"it has {len(DATASETS)}, such as {', '.join(TASKS)}"
        raise ConfigError(f"task: {task!r} is not a dataset of reasoning-gym; {meant}")
