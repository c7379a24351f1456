"""Generated problems from reasoning-gym, with splits that share no problem."""

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
"""Limit on draws in a row without a training problem; 4 in 5 problems are training problems."""


def split_of(question: str) -> str:
    """Return the split of a question, which depends only on its text: 1 in 10 is ``test``, 1 in 10 is ``val``.

    Splits therefore never share a problem, whatever their seeds and sizes.
    """
    return {0: "test", 1: "val"}.get(zlib.crc32(question.encode()) % 10, "train")


class ReasoningGymDataset(Dataset[Example]):
    """Problems of one reasoning-gym generator, with hints as privileged text.

    Hints with steps, and worked solutions, exist for the tasks in :data:`~dopd_lightning.data.tasks.TASKS`. Training
    problems are generated on access: an item is the same each time, but two items may be the same problem. Validation
    and test problems are generated on creation. Problems whose own answer reasoning-gym's scorer rejects (negative ones
    of ``gsm_symbolic``) are skipped.

    Args:
        task: name of a reasoning-gym dataset.
        size: number of examples.
        split: ``train``, ``val`` or ``test``; see :func:`split_of`.
        seed: seed of the problems and of the kind of hint for each. Different seeds give unrelated problems.
        hint: kind of privileged text (:data:`~dopd_lightning.data.tasks.HINT_KINDS`), or several kinds, of
            which each example gets a random one.
        completions: whether to add the worked solution as ``completion``.
        chat: whether the prompt is one user message; otherwise it is plain text.
        distinct: whether held-out problems are all different. If ``size`` is close to the number of problems, rare
            problems then become as frequent as common ones, unlike in training; ``False`` keeps their frequencies.
        params: settings of the generator, such as ``{"min_terms": 3}``.

    Attributes:
        generated: whether examples are generated on access, so that reading all of them takes long.

    Raises:
        ConfigError: for an unknown task, kind of hint or setting, or fewer held-out problems than ``size``.

    Example:
        >>> sums = ReasoningGymDataset("chain_sum", size=1000, params={"max_terms": 3, "max_digits": 2})
        >>> sums[1]["prompt"][0]["content"][-23:], sums[1]["privileged"], sums[1]["answer"]
        ('problem: 22 - 83 + 54 =', 'Step 1: start with 22 and subtract 83. Step 2: add 54.', '-7')
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
            raise IndexError(f"index {index} is out of range for {self.size} examples")
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
        """Return the generator's problem at a place; ``None`` if it is of another split or its answer is rejected."""
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
        """Return the generator of the ``size`` problems after those of the previous round."""
        import reasoning_gym  # takes 1.5 s, and runs on other data do not need it

        return reasoning_gym.create_dataset(
            self.task, seed=self._first_seed + round_ * self.size, size=self.size, **self.params
        )

    def _training_entry(self, index: int) -> Entry:
        for round_ in range(_MOST_ROUNDS):
            entry = self._entry(round_, index)
            if entry is not None:
                return entry
        raise ConfigError(f"params: no training problem found for {self.task!r} with {self.params!r}; change them")

    def _held_out_entries(self, distinct: bool) -> list[Entry]:
        entries: dict[Any, Entry] = {}
        for entry in self._all_entries(rounds=50 + 1000 // self.size):
            entries.setdefault(entry["question"] if distinct else len(entries), entry)
            if len(entries) == self.size:
                return list(entries.values())
        raise ConfigError(
            f"size: {self.size} is more than the {len(entries)} different problems found for {self.task!r} in the split"
            f" {self.split!r}; lower size, or change params (now {self.params!r}) so that there are more problems"
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
                    f"hint: {kind!r} exists only for the tasks {', '.join(TASKS)}; {self.task!r} can have"
                    f" {' or '.join(GENERAL_HINT_KINDS)}"
                )
        if self.completions and self.task not in TASKS:
            raise ConfigError(f"completions: they exist only for the tasks {', '.join(TASKS)}, not for {self.task!r}")

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
