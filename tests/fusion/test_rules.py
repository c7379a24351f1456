"""Each rule on tokens whose statistics are known by hand."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from dopd_lightning.divergence import Divergence, Pool, Toward, token_losses
from dopd_lightning.errors import ConfigError
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
    Supervision,
    Teacher,
    TokenStatistics,
)
from tests.two_sources import statistics_of, two

UNIFORM = [DOPD, Teacher, Reference, Mixture, Product, Confidence, Importance, Prune]
EVERY = [*UNIFORM, EntropyAware, Data]


def random_batch(seed: int = 0) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    student, teacher, reference = torch.randn(3, 3, 5, 200, generator=generator)
    ids = torch.randint(200, (3, 5), generator=generator)
    mask = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0], [0, 0, 0, 0, 0]]).bool()
    return student, teacher, reference, ids, mask


def losses(rule: FusionRule, seed: int = 0) -> Tensor:
    student, teacher, reference, ids, mask = random_batch(seed)
    supervision = rule(statistics_of(student, teacher, reference, ids, mask))
    return token_losses(student, two(teacher, reference), ids, supervision.terms)


def rows(*probs: list[float]) -> Tensor:
    """Logits of one rollout, ``(1, response, vocab)``."""
    return torch.tensor([probs]).log()


def on(
    student: Tensor, teacher: Tensor, reference: Tensor | None = None, mask: Tensor | None = None
) -> TokenStatistics:
    ids = torch.zeros(student.shape[:2], dtype=torch.long)
    return statistics_of(student, teacher, reference, ids, torch.ones_like(ids) if mask is None else mask)


def weights(supervision: Supervision, term: int = 0) -> list[float]:
    return supervision.terms[term].weight[0].tolist()


# --- all rules --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", EVERY)
def test_masked_tokens_have_no_weight_and_others_a_loss(make):
    *_, mask = random_batch()
    supervision = make()(statistics_of(*random_batch()))
    for term in supervision.terms:
        assert term.weight.shape == mask.shape
        assert (term.weight[~mask] == 0).all()
        assert (term.weight >= 0).all()
    per_token = losses(make())
    assert (per_token[~mask] == 0).all()
    assert per_token[mask].abs().sum() > 0


@pytest.mark.parametrize("make", EVERY)
def test_a_rule_works_on_what_it_says_it_needs(make):
    student, teacher, reference, ids, mask = random_batch()
    rule = make()
    teacher = teacher if "teacher" in rule.needs else None
    reference = reference if "reference" in rule.needs else None
    supervision = rule(statistics_of(student, teacher, reference, ids, mask))
    assert token_losses(student, two(teacher, reference), ids, supervision.terms).isfinite().all()
    for missing in rule.needs:
        given = [
            None if missing == name else logits for name, logits in [("teacher", teacher), ("reference", reference)]
        ]
        with pytest.raises(ConfigError, match=missing):
            token_losses(student, two(*given), ids, rule(statistics_of(student, *given, ids, mask)).terms)


@pytest.mark.parametrize("make", EVERY)
def test_a_batch_without_tokens(make):
    student, teacher, reference, ids, mask = random_batch()
    student.requires_grad_()
    statistics = statistics_of(student, teacher, reference, ids, torch.zeros_like(mask))
    per_token = token_losses(student, two(teacher, reference), ids, make()(statistics).terms)
    per_token.sum().backward()
    assert (per_token == 0).all()
    assert (student.grad == 0).all()


@pytest.mark.parametrize("make", [Teacher, Reference, Mixture, Product, Confidence, Importance, Prune])
def test_the_divergence_is_given_flat(make):
    rule = make(kind="js", beta=0.2, support="top_k", top_k=7, top_k_of="student", tail="renormalize")
    (term,) = rule(statistics_of(*random_batch())).terms
    assert term.divergence == Divergence(
        kind="js", beta=0.2, support="top_k", top_k=7, top_k_of="student", tail="renormalize"
    )
    with pytest.raises(ConfigError, match="kind"):
        make(kind="kl")


# --- single source, pools ---------------------------------------------------------------------------------------------


def test_teacher_and_reference():
    (teacher,) = Teacher()(statistics_of(*random_batch())).terms
    (reference,) = Reference()(statistics_of(*random_batch())).terms
    assert (teacher.target, reference.target) == (Toward("teacher"), Toward("reference"))
    assert teacher.divergence == reference.divergence == Divergence(kind="reverse_kl", support="full")
    assert not torch.allclose(losses(Teacher()), losses(Reference()))


def test_data_is_supervised_fine_tuning():
    student, _, _, ids, mask = random_batch()
    expected = (
        torch.nn.functional.cross_entropy(student.flatten(0, 1), ids.flatten(), reduction="none").view(3, 5) * mask
    )
    assert torch.allclose(losses(Data()), expected)


@pytest.mark.parametrize("make", [Mixture, Product])
def test_at_the_ends_a_pool_is_one_source(make):
    assert torch.allclose(losses(make(teacher_weight=1.0)), losses(Teacher()), atol=1e-5)
    assert torch.allclose(losses(make(teacher_weight=0.0)), losses(Reference()), atol=1e-5)


def test_pools_by_hand():
    student = rows([0.5, 0.5])
    teacher, reference = rows([0.8, 0.2]), rows([0.5, 0.5])
    statistics = on(student, teacher, reference)

    def loss(rule: FusionRule) -> float:
        return token_losses(student, two(teacher, reference), statistics.response_ids, rule(statistics).terms).item()

    # 0.25 (0.8, 0.2) + 0.75 (0.5, 0.5) = (0.575, 0.425)
    assert loss(Mixture(teacher_weight=0.25)) == pytest.approx(-0.5 * math.log(4 * 0.575 * 0.425), rel=1e-4)
    # (0.8, 0.2)^2 (0.5, 0.5)^-1 is proportional to (0.64, 0.04), that is (16/17, 1/17): beyond the teacher
    assert loss(Product(teacher_weight=2.0)) == pytest.approx(-0.5 * math.log(4 * 16 / 17 / 17), rel=1e-4)
    # (0.8, 0.2)^0.5 is proportional to (2, 1)
    assert loss(Product(teacher_weight=0.5)) == pytest.approx(-0.5 * math.log(4 * 2 / 9), rel=1e-4)


def test_the_weight_of_a_pool_is_checked():
    with pytest.raises(ConfigError, match=r"teacher_weight: 1\.5"):
        Mixture(teacher_weight=1.5)
    with pytest.raises(ConfigError, match=r"teacher_weight: -0\.5"):
        Product(teacher_weight=-0.5)


def test_confidence_trusts_the_surer_source():
    # entropies: ln 2 and 0, then the other way round, then equal
    sure, unsure = [1.0, 0.0], [0.5, 0.5]
    statistics = on(rows(sure, sure, sure), rows(unsure, sure, unsure), rows(sure, unsure, unsure))
    (term,) = Confidence()(statistics).terms
    assert isinstance(term.target, Pool)
    assert not term.target.geometric
    # exp(-ln 2) / (exp(-ln 2) + exp(0)) = 1/3
    assert term.target.weights["teacher"][0].tolist() == pytest.approx([1 / 3, 2 / 3, 1 / 2])


# --- selections -------------------------------------------------------------------------------------------------------


def test_entropy_aware_adds_forward_kl_where_the_teacher_is_unsure():
    # teacher entropies: 0, ln 2 = 0.69, ln 4 = 1.39
    teacher = rows([1, 0, 0, 0], [0.5, 0.5, 0, 0], [0.25] * 4, [0.25] * 4)
    student = rows([0.4, 0.3, 0.2, 0.1], [0.4, 0.3, 0.2, 0.1], [0.4, 0.3, 0.2, 0.1], [0.4, 0.3, 0.2, 0.1])
    mask = torch.tensor([[1, 1, 1, 0]])
    supervision = EntropyAware(threshold=1.0, forward_weight=0.5)(on(student, teacher, mask=mask))
    reverse, forward = supervision.terms
    assert (reverse.divergence.kind, forward.divergence.kind) == ("reverse_kl", "forward_kl")
    assert reverse.target == forward.target == Toward("teacher")
    assert weights(supervision, 0) == [1, 1, 1, 0]
    assert weights(supervision, 1) == [0, 0, 0.5, 0]
    assert weights(EntropyAware(threshold=0.5)(on(student, teacher, mask=mask)), 1) == [0, 1, 1, 0]


@pytest.mark.parametrize("options", [{"threshold": -1.0}, {"forward_weight": -1.0}, {"support": "x"}, {"tail": "x"}])
def test_entropy_aware_checks_its_fields(options):
    with pytest.raises(ConfigError, match=next(iter(options))):
        EntropyAware(**options)


def test_importance_keeps_the_unsure_and_the_sure_but_wrong():
    student = rows([0.5, 0.5], [0.99, 0.01], [0.99, 0.01], [0.9, 0.1], [0.5, 0.5])
    teacher = rows([0.5, 0.5], [0.01, 0.99], [0.99, 0.01], [0.9, 0.1], [0.1, 0.9])
    mask = torch.tensor([[1, 1, 1, 1, 0]])
    # unsure; sure and far from the teacher; sure and right; almost sure and right; masked
    # h: 1, 0, 0, (0.325 - 0.056) / (0.693 - 0.056) = 0.42;  d: 0, 1, 0, 0;  score: 1, 1, 0, 0.42
    statistics = on(student, teacher, mask=mask)
    assert weights(Importance(keep=0.5)(statistics)) == [1, 1, 0, 0, 0]
    assert weights(Importance(keep=0.75)(statistics)) == [1, 1, 0, 1, 0]
    assert weights(Importance(keep=0.6)(statistics)) == [1, 1, 0, 1, 0]  # 2.4 tokens, rounded up
    assert weights(Importance(keep=1.0)(statistics)) == [1, 1, 1, 1, 0]


def test_importance_is_a_soft_or():
    """Half unsure and half wrong scores 0.75: above 0.7 alone (unlike by maximum), below 0.9 alone (unlike by sum)."""

    class Known(dict):
        mask = torch.ones(1, 5, dtype=torch.bool)

        def scatter(self, values):
            return values[None]

    statistics = Known(
        student=SimpleNamespace(entropy=torch.tensor([[1.0, 0.0, 0.5, 0.7, 0.9]])),
        teacher=SimpleNamespace(divergence=torch.tensor([[0.0, 1.0, 0.5, 0.0, 0.0]])),
    )
    assert weights(Importance(keep=0.6)(statistics)) == [1, 1, 0, 0, 1]
    assert weights(Importance(keep=0.8)(statistics)) == [1, 1, 1, 0, 1]


def test_importance_of_alike_tokens_keeps_the_right_number():
    same = [0.7, 0.3]
    statistics = on(rows(same, same, same, same), rows(same, same, same, same))
    assert sum(weights(Importance(keep=0.5)(statistics))) == 2


@pytest.mark.parametrize("keep", [0.0, 1.1])
def test_importance_checks_its_share(keep):
    with pytest.raises(ConfigError, match="keep"):
        Importance(keep=keep)


class TestPrune:
    # gaps on token 0: ln 1, ln 2, ln 3, ln 4, ln 5; the last token is masked
    reference = rows(*[[0.1, 0.9]] * 6)
    teacher = rows([0.1, 0.9], [0.2, 0.8], [0.3, 0.7], [0.4, 0.6], [0.5, 0.5], [0.9, 0.1])
    statistics = on(reference, teacher, reference, torch.tensor([[1, 1, 1, 1, 1, 0]]))

    def test_top_and_bottom(self):
        assert weights(Prune(drop="top", fraction=0.4)(self.statistics)) == [1, 1, 1, 0, 0, 0]
        assert weights(Prune(drop="bottom", fraction=0.4)(self.statistics)) == [0, 0, 1, 1, 1, 0]

    def test_the_count_is_rounded_down(self):
        assert weights(Prune(drop="top", fraction=0.39)(self.statistics)) == [1, 1, 1, 1, 0, 0]
        assert weights(Prune(drop="top", fraction=0.19)(self.statistics)) == [1, 1, 1, 1, 1, 0]

    def test_random_follows_the_global_generator(self):
        torch.manual_seed(0)
        drawn = [weights(Prune(drop="random", fraction=0.4)(self.statistics)) for _ in range(20)]
        torch.manual_seed(0)
        again = [weights(Prune(drop="random", fraction=0.4)(self.statistics)) for _ in range(20)]
        assert drawn == again
        assert all(sum(each) == 3 and each[5] == 0 for each in drawn)
        assert len({tuple(each) for each in drawn}) > 3

    def test_the_target_is_the_teacher(self):
        (term,) = Prune()(self.statistics).terms
        assert term.target == Toward("teacher")

    def test_fields_are_checked(self):
        with pytest.raises(ConfigError, match="drop: 'middle' is not one of bottom, random, top"):
            Prune(drop="middle")
        with pytest.raises(ConfigError, match="fraction"):
            Prune(fraction=1.5)
