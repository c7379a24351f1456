"""The loss alone: three policies' last hidden states and heads, and who makes a loss and its gradient of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from unittest.mock import patch

import torch

from dopd_lightning.divergence import loss_of
from dopd_lightning.fusion import DOPD, Teacher, TokenStatistics, dopd, tables_of
from dopd_lightning.fusion.routing import Regime
from dopd_lightning.scores import StateScores
from dopd_lightning.scores.head import Head

SHARES = {Regime.LH: 0.3, Regime.LL: 0.3, Regime.HT: 0.2, Regime.HS: 0.2}

BUCKET = "DOPD, bucket"
RENORMALIZE = "DOPD, renormalize"
JS = "one source, JS"
REVERSE_KL = "one source, reverse KL"
TRL_JS = "TRL, JS"
TRL_REVERSE_KL = "TRL, reverse KL"

PEER = {BUCKET: TRL_JS, RENORMALIZE: TRL_JS, JS: TRL_JS, REVERSE_KL: TRL_REVERSE_KL}
"""Counterpart of each contender among TRL's losses."""


@dataclass(frozen=True, kw_only=True)
class LossSize:
    """Size of a loss; all policies have the same width."""

    tokens: int = 256
    vocabulary: int = 151_936
    width: int = 1024
    top_k: int = DOPD.top_k

    def __str__(self) -> str:
        return (
            f"{self.vocabulary:,} tokens in the vocabulary, hidden states {self.width} wide, float32, K = {self.top_k}"
        )


FULL = LossSize()
QUICK = LossSize(tokens=20, vocabulary=400, width=16, top_k=8)


class Inputs:
    """Random hidden states and heads. The reference has the student's head: it is the student, told more.

    Attributes:
        student: ``(1, tokens, width)``, a leaf that needs a gradient, as teacher and reference do not.
        student_weight: ``(vocab, width)``, the same unless it is ``frozen``.
        regimes: ``(1, tokens)``, in the proportions of ``SHARES``.
    """

    def __init__(self, size: LossSize, *, frozen: bool = False) -> None:
        torch.manual_seed(0)

        def random(*shape: int, std: float = 1.0) -> torch.Tensor:
            return torch.empty(shape).normal_(std=std)  # in place, so that making it takes no more than it does

        states = (1, size.tokens, size.width)
        self.student, self.teacher, self.reference = random(*states).requires_grad_(), random(*states), random(*states)
        self.student_weight = random(size.vocabulary, size.width, std=0.02).requires_grad_(not frozen)
        self.teacher_weight = random(size.vocabulary, size.width, std=0.02)
        self.response_ids = torch.randint(size.vocabulary, (1, size.tokens))
        self.mask = torch.ones(1, size.tokens, dtype=torch.bool)
        counts = torch.tensor([round(share * size.tokens) for share in SHARES.values()])
        counts[0] += size.tokens - counts.sum()
        regimes = torch.tensor([int(regime) for regime in SHARES]).repeat_interleave(counts)
        self.regimes = regimes[torch.randperm(size.tokens)].unsqueeze(0)

    def forget(self) -> None:
        """The gradients."""
        self.student.grad = self.student_weight.grad = None


@dataclass(frozen=True)
class LossContender:
    """A name, and a call that leaves the gradients of one loss; it also makes the student's entropy of each token."""

    name: str
    step: Callable[[Inputs], None]


def ours(name: str, rule: DOPD | Teacher) -> LossContender:
    """Compute the loss as `DOPDModule` does from hidden states and heads, with a given routing."""

    tables = tables_of(rule)

    def step(inputs: Inputs) -> None:
        policies = {
            "student": (inputs.student, inputs.student_weight),
            "teacher": (inputs.teacher, inputs.teacher_weight),
            "reference": (inputs.reference, inputs.student_weight),
        }
        scores = {
            role: StateScores(states, Head(weight), inputs.response_ids, inputs.mask, top_k=tables.get(role, 0))
            for role, (states, weight) in policies.items()
            if role == "student" or role in rule.needs
        }
        student = scores["student"]
        sources = {role: scores[role] for role in scores if role != "student"}
        statistics = TokenStatistics(inputs.mask, inputs.response_ids, student, sources)
        with patch.object(
            dopd, "routing", lambda *_, **__: (inputs.regimes, None)
        ):  # called with both sources' log-probabilities
            terms = rule(statistics).terms
        loss = loss_of(student, sources, terms).loss
        _ = statistics.student_entropy
        loss.backward()

    return LossContender(name, step)


def trl(name: str, beta: float) -> LossContender:
    """TRL's fused loss, which its ``DistillationTrainer`` uses.

    Raises:
        ImportError: if it is not installed.
    """
    from trl.kernels.chunked_divergence import ChunkedDivergenceFunction

    def step(inputs: Inputs) -> None:
        per_token, _ = ChunkedDivergenceFunction.apply(
            *(inputs.student[0], inputs.student_weight, None),
            *(inputs.teacher[0], inputs.teacher_weight, None),
            beta,
        )
        per_token.mean().backward()

    return LossContender(name, step)


def loss_contenders(size: LossSize) -> dict[str, LossContender]:
    """Return contenders by name, TRL's first if it is installed."""
    found = [
        ours(BUCKET, DOPD(top_k=size.top_k, tail="bucket")),
        ours(RENORMALIZE, DOPD(top_k=size.top_k, tail="renormalize")),
        ours(JS, Teacher(kind="js")),
        ours(REVERSE_KL, Teacher(kind="reverse_kl")),
    ]
    try:
        found = [trl(TRL_JS, 0.5), trl(TRL_REVERSE_KL, 1.0), *found]
    except ImportError:
        print("trl is not installed, so that there is nothing to compare with: pip install -e '.[bench]'\n")
    return {contender.name: contender for contender in found}
