"""Divergence maps made up: with numbers and words as a run has them, or with none that anything could compress."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from dopd_lightning.fusion import route
from dopd_lightning.maps import Alternatives, MappedResponse, Snapshot, quantities_of

VOCABULARY = 151_936
SOURCES = ("teacher", "reference")
POLICIES = ("student", *SOURCES)
QUANTITIES = [quantity.name for quantity in quantities_of(SOURCES)]
WEIGHTS = np.array([0.6, 0.3, 1.0, 0.6])
"""The paper's, by regime."""


def like_a_run(
    step: int, *, prompts: int, fixed: int, tokens: int, alternatives: int = 5, words: Sequence[Sequence[str]] = ()
) -> Snapshot:
    """Most tokens are as good as certain and all agree on them; on few the policies differ much, less with each step.

    Args:
        step: also the seed.
        prompts: how many.
        fixed: how many of them are fixed.
        tokens: of each response, where ``words`` has no response for it.
        alternatives: of each policy, for each token.
        words: responses to show, as their tokens; else ids are drawn by Zipf's law.
    """
    rng = np.random.default_rng(step)
    ids_of = {word: 1000 + 7 * rank for rank, word in enumerate(dict.fromkeys(word for row in words for word in row))}
    responses = []
    for number in range(prompts):
        if words:
            ids = np.array([ids_of[word] for word in words[number % len(words)]], dtype=np.int32)
        else:
            ids = np.minimum(rng.zipf(1.15, tokens), VOCABULARY - 1).astype(np.int32)
        quantities, regimes = _numbers(rng, len(ids), spread=0.4 + 1.2 * np.exp(-step / 100))
        pool = np.array([*ids_of.values()]) if words else None
        responses.append(
            MappedResponse(
                prompt=_prompt(rng),
                privileged="Split it into parts that are easy by themselves; join them; check the sign.",
                fixed=number < fixed,
                number=number if number < fixed else number - fixed,
                token_ids=ids,
                regimes=regimes,
                quantities=quantities,
                alternatives={
                    role: _alternatives(rng, ids, quantities[f"{role}_probability"], alternatives, pool)
                    for role in POLICIES
                },
            )
        )
    return Snapshot(step, responses, _pieces(responses, {token: word for word, token in ids_of.items()}))


def at_random(step: int, *, prompts: int, tokens: int, alternatives: int = 5) -> Snapshot:
    """Every id of the vocabulary and every number equally likely: what compresses least."""
    rng = np.random.default_rng(step)
    responses = [
        MappedResponse(
            prompt=_prompt(rng),
            privileged=None,
            fixed=number < prompts // 2,
            number=number % (prompts // 2 or 1),
            token_ids=rng.integers(0, VOCABULARY, tokens, dtype=np.int32),
            regimes=rng.integers(0, 4, tokens, dtype=np.int8),
            quantities={name: np.exp(rng.uniform(-9, 9, tokens)).astype(np.float32) for name in QUANTITIES},
            alternatives={
                role: Alternatives(
                    rng.integers(0, VOCABULARY, (tokens, alternatives), dtype=np.int32),
                    rng.random((tokens, alternatives), dtype=np.float32),
                )
                for role in POLICIES
            },
        )
        for number in range(prompts)
    ]
    return Snapshot(step, responses, _pieces(responses, {}))


def _numbers(rng: np.random.Generator, tokens: int, spread: float) -> tuple[dict[str, NDArray], NDArray[np.int8]]:
    entropy = np.minimum(np.exp(rng.normal(-3, 2, tokens)), 6)
    student = -entropy * rng.exponential(1, tokens)
    differs = spread * np.exp(rng.normal(-2.5, 1.3, tokens)) + 0.6 * entropy
    logs = {
        "student": student,
        "teacher": np.minimum(student + differs * rng.normal(0.2, 1, tokens), -1e-6),
        "reference": np.minimum(student + 0.7 * differs * rng.normal(0.2, 1, tokens), -1e-6),
    }
    both = (torch.tensor(logs[role]).float()[None] for role in ("teacher", "reference"))
    regimes = route(*both, torch.ones(1, tokens, dtype=torch.bool))[0].numpy()
    divergences = {role: np.abs(logs[role] - student) * (1 - np.exp(logs[role])) + 1e-6 for role in SOURCES}
    taught_by = np.where(np.isin(regimes, [0, 2]), divergences["teacher"], divergences["reference"])
    numbers = {
        "gap": np.abs(logs["teacher"] - logs["reference"]),
        "loss": WEIGHTS[regimes] * taught_by,
        "student_entropy": entropy,
        **{f"{role}_entropy": entropy * np.exp(rng.normal(-0.3, 0.4, tokens)) for role in SOURCES},
        **{f"{role}_probability": np.exp(logs[role]) for role in POLICIES},
        **{f"{role}_divergence": values for role, values in divergences.items()},
    }
    return {name: numbers[name].astype(np.float32) for name in QUANTITIES}, regimes.astype(np.int8)


def _alternatives(
    rng: np.random.Generator, ids: NDArray[np.int32], probability: NDArray, count: int, pool: NDArray | None
) -> Alternatives:
    """The response's token with its probability, and others with shares of what is left."""
    shape = (len(ids), count - 1)
    others = rng.choice(pool, shape) if pool is not None else np.minimum(rng.zipf(1.15, shape), VOCABULARY - 1)
    left = (1 - probability[:, None]) * 0.5 ** np.arange(1, count)
    found = np.concatenate([probability[:, None], left], axis=1)
    order = np.argsort(-found, axis=1, kind="stable")
    all_ids = np.concatenate([ids[:, None], others], axis=1)
    return Alternatives(
        np.take_along_axis(all_ids, order, 1).astype(np.int32), np.take_along_axis(found, order, 1).astype(np.float32)
    )


def _pieces(responses: Sequence[MappedResponse], words: dict[int, str]) -> dict[int, bytes]:
    rows = [response.token_ids for response in responses]
    rows += [found.ids.ravel() for response in responses for found in response.alternatives.values()]
    ids = np.unique(np.concatenate(rows)) if rows else np.zeros(0, dtype=int)
    return {int(token): words.get(int(token), _word(int(token))).encode() for token in ids}


def _word(token: int) -> str:
    """A word as long as a vocabulary's are, another for each id."""
    syllables = []
    rest = token + 37
    while rest:
        rest, which = divmod(rest, 80)
        syllables.append("bdfghjklmnprstvz"[which % 16] + "aeiou"[which // 16])
    return (" " if token % 3 else "") + "".join(syllables)


def _prompt(rng: np.random.Generator) -> str:
    first, second, third = rng.integers(100, 99_999, 3)
    return rng.choice(
        [
            f"What is {first} + {second} - {third}?",
            f"A shop sells {first} tickets in May and {second} in June. {third} are given back. How many are sold?",
            f"Solve for x: {first % 90}x + {second % 900} = {third}. Show each step of your work.",
            f"A train leaves at {first % 12 + 1} o'clock and covers {second} metres in {third % 60} minutes. How fast?",
        ]
    )
