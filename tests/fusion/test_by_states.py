"""Rules decide and teach by hidden states and heads as they do by logits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
import torch
from torch import Tensor

from dopd_lightning.divergence import Pool, divergence, loss_of
from dopd_lightning.fusion import (
    DOPD,
    Confidence,
    Data,
    EntropyAware,
    FusionRule,
    Importance,
    Mixture,
    Product,
    Prune,
    Reference,
    Regime,
    Supervision,
    Teacher,
    TokenStatistics,
    tables_of,
)
from dopd_lightning.scores import LogitScores, Scores, StateScores
from dopd_lightning.scores.head import Head

ROLES = ("student", "teacher", "reference")
EVERY = [DOPD, Teacher, Reference, Mixture, Product, Confidence, Importance, Prune, EntropyAware]
SUPPORTS = {
    "full": {"support": "full"},
    "sampled": {"support": "sampled"},
    "top_k": {"support": "top_k", "top_k": 4},
    "top_k, renormalized": {"support": "top_k", "top_k": 4, "tail": "renormalize"},
    "top_k of the student": {"support": "top_k", "top_k": 4, "top_k_of": "student"},
    "top_k of the student, renormalized": {
        "support": "top_k",
        "top_k": 4,
        "top_k_of": "student",
        "tail": "renormalize",
    },
}
RULES = {f"{make.__name__}, {name}": make(**fields) for make in EVERY for name, fields in SUPPORTS.items()} | {
    "DOPD": DOPD(top_k=4),
    "DOPD, forward": DOPD(top_k=4, divergence="forward_kl"),
    "EntropyAware, always unsure": EntropyAware(threshold=0.0, forward_weight=0.5),
    "Data": Data(),
}


@dataclass
class Batch:
    """Three policies of different widths at the response tokens of three rollouts, one without any."""

    temperature: float = 1.0
    softcap: float | None = 5.0
    states: dict[str, Tensor] = field(init=False)
    heads: dict[str, Head] = field(init=False)
    ids: Tensor = field(init=False)
    mask: Tensor = field(init=False)

    def __post_init__(self) -> None:
        generator = torch.Generator().manual_seed(0)

        def normal(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=generator, dtype=torch.float64).requires_grad_()

        self.states = {role: normal(3, 6, width) for role, width in zip(ROLES, (4, 6, 4), strict=True)}
        self.heads = {
            role: Head(normal(35, states.shape[-1]), softcap=self.softcap, vocabulary_size=30)
            for role, states in self.states.items()
        }
        self.ids = torch.randint(30, (3, 6), generator=generator)
        self.mask = torch.tensor([[1, 1, 1, 1, 1, 1], [1, 1, 1, 1, 0, 0], [0, 0, 0, 0, 0, 0]]).bool()

    def by_states(self, rule: FusionRule) -> TokenStatistics:
        """Scored as the module scores: with the rule's tables, and without the sources that it does not need."""
        tables = tables_of(rule)

        def score(role: str) -> StateScores:
            settings = {"top_k": tables.get(role, 0), "temperature": self.temperature, "memory": 0.001}
            return StateScores(self.states[role], self.heads[role], self.ids, self.mask, **settings)

        return self._statistics(rule, score)

    def by_logits(self, rule: FusionRule) -> TokenStatistics:
        return self._statistics(
            rule, lambda role: LogitScores(self.logits(role), self.ids, self.mask, temperature=self.temperature)
        )

    def logits(self, role: str) -> Tensor:
        products = self.states[role] @ self.heads[role].weight[:30].t()
        return products if self.softcap is None else self.softcap * (products / self.softcap).tanh()

    def _statistics(self, rule: FusionRule, score: Callable[[str], Scores]) -> TokenStatistics:
        sources = {role: score(role) for role in ROLES[1:] if role in rule.needs}
        return TokenStatistics(self.mask, self.ids, score("student"), sources)

    def learn(self, rule: FusionRule, statistics: TokenStatistics) -> tuple[Supervision, list[Tensor]]:
        """Return the rule's decisions, loss, loss per token, and gradients by the student's states and weights."""
        supervision = rule(statistics)
        result = loss_of(statistics.student, statistics.sources, supervision.terms)
        gradients = torch.autograd.grad(result.loss, [self.states["student"], self.heads["student"].weight])
        return supervision, [result.loss, result.per_token, *gradients]


def assert_same(found: Supervision, expected: Supervision) -> None:
    assert (found.regimes is None) == (expected.regimes is None)
    if found.regimes is not None:
        assert found.regimes.equal(expected.regimes)
    for a, b in zip(found.terms, expected.terms, strict=True):
        assert (a.name, a.divergence) == (b.name, b.divergence)
        torch.testing.assert_close(a.weight, b.weight)
        if isinstance(a.target, Pool):
            assert a.target.geometric == b.target.geometric
            torch.testing.assert_close(a.target.weights, b.target.weights)
        else:
            assert a.target.sources == b.target.sources


@pytest.mark.parametrize("temperature", [1.0, 0.7])
@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_every_rule_decides_and_teaches_the_same(rule, temperature):
    batch = Batch(temperature)
    supervision, found = batch.learn(rule, batch.by_states(rule))
    expected_supervision, expected = batch.learn(rule, batch.by_logits(rule))
    assert_same(supervision, expected_supervision)
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-9, check_dtype=False)
        assert b.any()


def test_the_batch_has_tokens_of_every_regime():
    batch, rule = Batch(), DOPD(top_k=4)
    assert set(rule(batch.by_states(rule)).regimes[batch.mask].tolist()) == set(Regime)


@pytest.mark.parametrize("kind", ["by_states", "by_logits"])
def test_the_teacher_divergence_is_at_the_temperature_of_the_loss_and_nothing_else_is(kind):
    def of(temperature: float) -> TokenStatistics:
        return getattr(Batch(temperature), kind)(DOPD())

    student, teacher = Batch().logits("student").detach(), Batch().logits("teacher").detach()
    mask = Batch().mask
    for temperature in (1.0, 0.5):
        expected = divergence(student / temperature, teacher / temperature).where(mask, 0.0).float()
        torch.testing.assert_close(of(temperature).teacher_divergence, expected)
    assert not torch.allclose(of(1.0).teacher_divergence, of(0.5).teacher_divergence)
    for name in ("student_logp", "teacher_logp", "reference_entropy", "gap"):
        torch.testing.assert_close(getattr(of(0.5), name), getattr(of(1.0), name))


def test_statistics_are_detached():
    statistics = Batch().by_states(DOPD())
    for name in ("student_logp", "teacher_entropy", "teacher_divergence", "gap"):
        values = getattr(statistics, name)
        assert not values.requires_grad
        assert values.dtype == torch.float32


# --- how often a head is asked ----------------------------------------------------------------------------------------


@pytest.fixture
def products(monkeypatch):
    """Number of times that logits of all tokens were made, by head and states."""
    made: Counter = Counter()
    logits = Head.logits

    def counted(self: Head, states: Tensor, out: Tensor) -> Tensor:
        made.update((id(self), tuple(row)) for row in states.tolist())
        return logits(self, states, out)

    monkeypatch.setattr(Head, "logits", counted)
    return made


def times(made: Counter, batch: Batch, role: str) -> list[int]:
    """The count of each response token."""
    return [made[id(batch.heads[role]), tuple(row)] for row in batch.states[role].detach()[batch.mask].tolist()]


def learn(rule: FusionRule) -> tuple[Batch, Supervision]:
    """A step as the module makes it: the record asks for the student's statistics after the loss."""
    batch = Batch()
    statistics = batch.by_states(rule)
    supervision, _ = batch.learn(rule, statistics)
    assert statistics.student_logp.any()
    assert statistics.student_entropy.any()
    return batch, supervision


@pytest.mark.parametrize("tail", ["bucket", "renormalize"])
def test_dopd_projects_a_source_a_second_time_only_for_full_distributions(products, tail):
    batch, supervision = learn(DOPD(top_k=4, tail=tail))
    full = (supervision.regimes == Regime.HT)[batch.mask]
    assert times(products, batch, "student") == [1] * 10
    assert times(products, batch, "teacher") == [1 + again for again in full.tolist()]
    assert times(products, batch, "reference") == [1] * 10


@pytest.mark.parametrize(
    "rule", [Teacher(), Reference(), Mixture(), Product(), Data()], ids=lambda rule: type(rule).__name__
)
def test_who_asks_for_no_statistics_projects_once(products, rule):
    batch, _ = learn(rule)
    for role in ROLES:
        assert times(products, batch, role) == [int(role == "student" or role in rule.needs)] * 10


@pytest.mark.parametrize("name", [name for name in SUPPORTS if name.startswith("top_k")])
@pytest.mark.parametrize("make", [Teacher, Reference])
def test_a_top_k_of_one_source_projects_it_at_most_once(products, make, name):
    rule = make(**SUPPORTS[name])
    batch, _ = learn(rule)
    assert times(products, batch, "student") == [1] * 10
    (role,) = rule.needs
    assert times(products, batch, role) == [1] * 10
