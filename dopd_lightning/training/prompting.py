"""Prompts of a batch for the student and each source."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch

from dopd_lightning.data import Example
from dopd_lightning.inputs import EncodedPrompt, Encoder
from dopd_lightning.sources import Source
from dopd_lightning.training.privileged import PrivilegedAccess


class Prompting:
    """Draw which prompts have privileged text, and encode them.

    Student, teacher and reference always draw from torch's global generator, in this order, even in a run without a
    teacher. Other sources draw from a separate generator, so that adding one does not change the other draws.

    Args:
        encoder: encodes prompts.
        privileged: probabilities for the student, the teacher and the reference.
        sources: sources by name; further sources have a probability of their own (``shown``).
    """

    def __init__(self, encoder: Encoder, privileged: PrivilegedAccess, sources: Mapping[str, Source]) -> None:
        self.encoder = encoder
        self._shown = privileged.shown({name: source.shown for name, source in sources.items()})
        self._draws: torch.Generator | None = None  # made at the first draw, since a generator cannot be pickled
        self._seed: int | None = None

    def of_all(self, examples: Sequence[Example]) -> dict[str, list[EncodedPrompt]]:
        """Return each example's prompt, by policy.

        Raises:
            DataError: for a prompt that cannot be encoded.
        """
        found = {}
        for name, shown in self._shown.items():
            if name in ("student", "teacher", "reference"):
                found[name] = self._of(examples, shown, None)
                continue
            if self._draws is None:
                self._draws = torch.Generator().manual_seed(torch.initial_seed() if self._seed is None else self._seed)
            found[name] = self._of(examples, shown, self._draws)
        return found

    def _of(self, examples: Sequence[Example], shown: float, generator: torch.Generator | None) -> list[EncodedPrompt]:
        return [
            self.encoder.prompt(example, privileged=torch.rand((), generator=generator).item() < shown)
            for example in examples
        ]

    def seed(self, seed: int) -> None:
        """Seed the generator of further sources with this process's own seed."""
        self._draws, self._seed = None, seed

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Restore the generator of further sources at the end of the block."""
        before = self.random_state
        try:
            yield
        finally:
            self.random_state = before

    @property
    def random_state(self) -> torch.Tensor | None:
        """State of the generator of further sources; None before its first draw."""
        return None if self._draws is None else self._draws.get_state()

    @random_state.setter
    def random_state(self, state: torch.Tensor | None) -> None:
        self._draws = None
        if state is not None:
            self._draws = torch.Generator()
            self._draws.set_state(state)
