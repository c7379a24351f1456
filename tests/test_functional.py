"""The method on plain tensors, against numbers worked out by hand."""

from __future__ import annotations

import inspect
import math

import pytest
import torch
from torch import Tensor

from dopd_lightning.divergence import reduce_loss, token_losses
from dopd_lightning.errors import ConfigError
from dopd_lightning.functional import Regime, advantage_gap, divergence, dopd_loss, route
from dopd_lightning.fusion import DOPD
from tests.two_sources import statistics_of, two

LH, LL, HT, HS = Regime

# One token of each regime; the response token is 0 everywhere; the student is (1/2, 1/4, 1/4) everywhere.
STUDENT = [[0.5, 0.25, 0.25]] * 4
TEACHER = [[0.8, 0.1, 0.1], [0.2, 0.4, 0.4], [0.8, 0.1, 0.1], [0.1, 0.1, 0.8]]
REFERENCE = [[0.6, 0.2, 0.2], [0.1, 0.8, 0.1], [0.1, 0.8, 0.1], [0.8, 0.1, 0.1]]
# Gaps ln(8/6), ln 2, ln 8, ln 8: mean 1.285. Sums 1.4, 0.3, 0.9, 0.9: mean 0.875. So LH, LL, HT, HS.

# With K = 1 and a bucket:
VALUES = [
    # LH: student (1/2 | 1/2), teacher (0.8 | 0.2): 0.5 ln(0.5/0.8) + 0.5 ln(0.5/0.2) = ln 1.25
    0.6 * 0.2231436,
    # LL: on token 1, student (1/4 | 3/4), reference (0.8 | 0.2): 0.25 ln(0.25/0.8) + 0.75 ln(0.75/0.2)
    0.3 * 0.7005292,
    # HT: m = (0.65, 0.175, 0.175): half of 0.8 ln(0.8/0.65) + 0.2 ln(0.1/0.175) = 0.0541883,
    #     half of 0.5 ln(0.5/0.65) + 0.5 ln(0.25/0.175) = 0.0471553
    1.0 * 0.0506718,
    # HS: as LH, with the reference
    0.6 * 0.2231436,
]
# Reverse KL: p_i (ln(p_o / q_o) - KL), with o the outcome that token i belongs to.
# JS: half of p_i (ln(p_i / m_i) - KL(p ‖ m)).
GRADIENTS = [
    [0.6 * -0.3465736, 0.6 * 0.1732868, 0.6 * 0.1732868],  # -0.5 ln 2, then shared by the bucket
    [0.3 * 0.3106133, 0.3 * -0.4659200, 0.3 * 0.1553067],  # 3/16 ln 12, on token 1
    [-0.0773799, 0.0386899, 0.0386899],
    [0.6 * -0.3465736, 0.6 * 0.1732868, 0.6 * 0.1732868],
]


def logits(rows: list[list[float]], constant: float = 0.0) -> Tensor:
    return (torch.tensor([rows], dtype=torch.float64).log() + constant).requires_grad_()


def by_hand(**options):
    student, teacher, reference = logits(STUDENT, 1.0), logits(TEACHER, -3.0), logits(REFERENCE, 2.0)
    ids, mask = torch.zeros(1, 4, dtype=torch.long), torch.ones(1, 4, dtype=torch.bool)
    result = dopd_loss(student, teacher, reference, ids, mask, **{"top_k": 1, **options})
    return result, student, teacher, reference


def test_the_four_regimes_values():
    result, *_ = by_hand()
    assert result.regimes.tolist() == [[LH, LL, HT, HS]]
    assert result.per_token[0].tolist() == pytest.approx(VALUES, abs=1e-7)
    assert result.loss.item() == pytest.approx(sum(VALUES) / 4, abs=1e-7)
    assert result.gap[0].tolist() == pytest.approx([math.log(8 / 6), math.log(2), math.log(8), math.log(8)])


@pytest.mark.parametrize("regime", list(Regime))
def test_each_regimes_gradient_on_its_own(regime):
    result, student, *_ = by_hand()
    result.per_token[0, regime].backward()
    assert student.grad[0, regime].tolist() == pytest.approx(GRADIENTS[regime], abs=1e-7)
    student.grad[0, regime] = 0
    assert (student.grad == 0).all()


def test_the_gradient_of_the_loss():
    result, student, teacher, reference = by_hand()
    result.loss.backward()
    for got, expected in zip(student.grad[0].tolist(), GRADIENTS, strict=True):
        assert got == pytest.approx([value / 4 for value in expected], abs=1e-7)
    assert teacher.grad is None
    assert reference.grad is None


@pytest.mark.parametrize("regime", list(Regime))
def test_each_regime_moves_the_student_to_its_target(regime):
    result, student, teacher, reference = by_hand()
    result.per_token[0, regime].backward()
    target = (teacher if regime in (LH, HT) else reference)[0, regime].softmax(-1)
    before = student[0, regime].softmax(-1)
    after = (student - student.grad)[0, regime].softmax(-1)
    favourite = target.argmax()
    assert before[favourite] < after[favourite] <= target[favourite]


def test_weights():
    result, *_ = by_hand(beta_light=1.2, beta_weak=0.9)
    scales = [2, 3, 1, 2]
    assert result.per_token[0].tolist() == pytest.approx([v * s for v, s in zip(VALUES, scales, strict=True)], abs=1e-6)


def random_batch(rollouts: int = 4, response: int = 6, vocab: int = 150):
    generator = torch.Generator().manual_seed(0)
    student, teacher, reference = 2 * torch.randn(3, rollouts, response, vocab, generator=generator)
    ids = torch.randint(vocab, (rollouts, response), generator=generator)
    mask = torch.arange(response) < torch.tensor([6, 3, 0, 1]).unsqueeze(1)
    return student.requires_grad_(), teacher, reference, ids, mask


def test_the_same_as_the_rule_the_engine_and_the_reduction():
    student, teacher, reference, ids, mask = random_batch()
    result = dopd_loss(student, teacher, reference, ids, mask)
    supervision = DOPD()(statistics_of(student, teacher, reference, ids, mask))
    per_token = token_losses(student, two(teacher, reference), ids, supervision.terms)
    assert torch.equal(result.per_token, per_token)
    assert torch.equal(result.loss, reduce_loss(per_token, mask))
    assert torch.equal(result.regimes, supervision.regimes)


def test_routing_is_from_the_two_sources():
    student, teacher, reference, ids, mask = random_batch()
    at = ids.unsqueeze(-1)
    teacher_logp = teacher.log_softmax(-1).gather(-1, at).squeeze(-1)
    reference_logp = reference.log_softmax(-1).gather(-1, at).squeeze(-1)
    result = dopd_loss(student, teacher, reference, ids, mask)
    assert torch.equal(result.regimes, route(teacher_logp, reference_logp, mask))
    assert torch.allclose(result.gap, advantage_gap(teacher_logp, reference_logp) * mask)
    assert torch.equal(dopd_loss(-student, teacher, reference, ids, mask).regimes, result.regimes)


@pytest.mark.parametrize("poison", [torch.nan, torch.inf])
def test_masked_tokens_contribute_nothing(poison):
    student, teacher, reference, ids, mask = random_batch()
    clean = dopd_loss(student, teacher, reference, ids, mask)
    clean.loss.backward()

    dirty_logits = [
        each.detach().masked_fill(~mask.unsqueeze(-1), poison).requires_grad_()
        for each in (student, teacher, reference)
    ]
    dirty = dopd_loss(*dirty_logits, ids.masked_fill(~mask, -100), mask)
    dirty.loss.backward()

    assert torch.equal(clean.loss, dirty.loss)
    assert torch.equal(student.grad, dirty_logits[0].grad)
    assert (student.grad[~mask] == 0).all()
    assert student.grad[mask].abs().sum() > 0


def test_no_token():
    student, teacher, reference, ids, mask = random_batch()
    result = dopd_loss(student, teacher, reference, ids, torch.zeros_like(mask))
    result.loss.backward()
    assert result.loss.item() == 0
    assert (student.grad == 0).all()
    assert (result.regimes == -1).all()


@pytest.mark.parametrize("reduction", ["rollout", "token"])
def test_reduction(reduction):
    batch = random_batch()
    result = dopd_loss(*batch, reduction=reduction)
    lengths = torch.tensor([6.0, 3.0, 1.0, 1.0])
    sums = result.per_token.sum(-1)
    expected = (sums / lengths).mean() if reduction == "rollout" else sums.sum() / 10
    assert result.loss.item() == pytest.approx(expected.item())


def test_without_privileged_text_only_the_teacher_pulls():
    """The reference is then the student itself, and its terms have neither value nor gradient."""
    student, teacher, _, ids, mask = random_batch()
    result = dopd_loss(student, teacher, student, ids, mask)
    result.loss.backward()
    from_reference = (result.regimes == LL) | (result.regimes == HS)
    from_teacher = (result.regimes == LH) | (result.regimes == HT)
    assert result.per_token[from_reference].abs().max() < 1e-5
    assert student.grad[from_reference].abs().max() < 1e-6
    assert student.grad[from_teacher].abs().max() > 1e-3


def test_options_reach_their_place():
    batch = random_batch()
    default = dopd_loss(*batch)
    for options in (
        {"beta_js": 0.2},
        {"top_k": 3},
        {"top_k_of": "student", "top_k": 3},
        {"tail": "renormalize"},
        {"outlier_fraction": 0.5},
    ):
        statistics = statistics_of(*batch)
        terms = DOPD(**options)(statistics).terms
        result = dopd_loss(*batch, **options)
        assert torch.equal(result.per_token, token_losses(batch[0], two(*batch[1:3]), batch[3], terms))
        assert not torch.equal(result.per_token, default.per_token)


def test_the_routings_normalisation():
    """Token 0 has a likely sum only once the probabilities' ranges, 0.55 and 0.34, are made alike."""
    teacher = logits([[0.45, 0.55], [0.95, 0.05], [0.40, 0.60]])
    reference = logits([[0.35, 0.65], [0.30, 0.70], [0.01, 0.99]])
    batch = (teacher, teacher, reference, torch.zeros(1, 3, dtype=torch.long), torch.ones(1, 3))
    assert dopd_loss(*batch, top_k=1).regimes.tolist() == [[LL, LH, HT]]
    assert dopd_loss(*batch, top_k=1, normalize="minmax").regimes.tolist() == [[LH, LH, HT]]


def test_the_signature_shows_the_rules_defaults():
    rule = DOPD()
    for name, parameter in inspect.signature(dopd_loss).parameters.items():
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY and name != "reduction":
            assert parameter.default == getattr(rule, name)


def test_top_k_above_the_vocabulary():
    student, teacher, reference, ids, mask = random_batch(vocab=100)
    with pytest.raises(ConfigError, match=r"top_k: 128 .* 100 tokens"):
        dopd_loss(student, teacher, reference, ids, mask)


def test_divergence_is_exported():
    assert divergence(torch.zeros(2, 5), torch.zeros(2, 5)).tolist() == [0, 0]
