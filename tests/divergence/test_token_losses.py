"""Losses per token from terms."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from dopd_lightning.divergence import Divergence, Pool, Term, divergence, token_losses
from dopd_lightning.errors import ConfigError
from tests.two_sources import pool_of_two, two

REVERSE = Divergence()
TOP_K = Divergence(support="top_k", top_k=3)


def batch(seed: int = 0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    student, teacher, reference = torch.randn(3, 2, 4, 6, generator=generator, dtype=torch.float64)
    ids = torch.randint(6, (2, 4), generator=generator)
    return student.requires_grad_(), teacher.requires_grad_(), reference.requires_grad_(), ids


def test_a_loss_is_the_weighted_sum_over_terms():
    student, teacher, reference, ids = batch()
    first = torch.tensor([[1.0, 0.5, 0.0, 0.0], [0.0, 2.0, 0.0, 1.0]])
    second = torch.tensor([[0.0, 0.3, 0.0, 1.0], [0.0, 0.0, 0.0, 1.0]])
    js = Divergence(kind="js", beta=0.3)

    losses = token_losses(
        student, two(teacher, reference), ids, [Term("a", "teacher", TOP_K, first), Term("b", "reference", js, second)]
    )

    expected = first * divergence(student, teacher, support="top_k", top_k=3)
    expected = expected + second * divergence(student, reference, kind="js", beta=0.3)
    assert torch.allclose(losses, expected)
    assert torch.allclose(
        torch.autograd.grad(losses.sum(), student, retain_graph=True)[0],
        torch.autograd.grad(expected.sum(), student)[0],
    )


def test_only_the_student_gets_a_gradient():
    student, teacher, reference, ids = batch()
    weight = torch.ones(2, 4)
    targets = ["teacher", "reference", "data", pool_of_two(0.3), pool_of_two(0.3, geometric=True)]
    terms = [Term(str(t), t, Divergence(kind="forward_kl"), weight) for t in targets]
    token_losses(student, two(teacher, reference), ids, terms).sum().backward()
    assert student.grad.abs().sum() > 0
    assert teacher.grad is None
    assert reference.grad is None


def test_data_is_the_negative_log_likelihood():
    student, _, _, ids = batch()
    term = Term("sft", "data", Divergence(kind="forward_kl"), torch.ones(2, 4))
    losses = token_losses(student, {}, ids, [term])
    expected = torch.nn.functional.cross_entropy(student.flatten(0, 1), ids.flatten(), reduction="none").view(2, 4)
    assert torch.allclose(losses, expected)


def test_sampled_support_uses_the_response_tokens():
    student, teacher, _, ids = batch()
    term = Term("a", "teacher", Divergence(support="sampled"), torch.ones(2, 4))
    losses = token_losses(student, two(teacher), ids, [term])
    at = ids.unsqueeze(-1)
    log_ratio = student.log_softmax(-1).gather(-1, at) - teacher.log_softmax(-1).gather(-1, at)
    assert torch.allclose(losses, log_ratio.squeeze(-1))


@pytest.mark.parametrize("poison", [torch.inf, torch.nan])
def test_tokens_of_weight_zero_are_never_read(poison):
    student, teacher, reference, ids = batch()
    weight = torch.tensor([[1.0, 1.0, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0]])
    targets = ["teacher", "data", pool_of_two(torch.full((2, 4), 0.5))]
    terms = [Term(str(t), t, Divergence(kind="forward_kl"), weight) for t in targets]
    terms.append(Term("sampled", "reference", Divergence(support="sampled"), weight))

    def run(student: Tensor, teacher: Tensor, reference: Tensor, ids: Tensor) -> tuple[Tensor, Tensor]:
        student = student.detach().requires_grad_()
        losses = token_losses(student, two(teacher, reference), ids, terms)
        losses.sum().backward()
        return losses.detach(), student.grad

    clean = run(student, teacher, reference, ids)
    masked = weight == 0
    poisoned = [t.detach().masked_fill(masked.unsqueeze(-1), poison) for t in (student, teacher, reference)]
    dirty = run(*poisoned, ids.masked_fill(masked, -100))
    assert torch.equal(clean[0], dirty[0])
    assert torch.equal(clean[1], dirty[1])
    assert (clean[0][masked] == 0).all()
    assert (clean[1][masked] == 0).all()


@pytest.mark.parametrize("terms", [[], [Term("a", "teacher", TOP_K, torch.zeros(2, 4))]], ids=["no term", "no token"])
def test_without_tokens_the_loss_is_zero_and_still_has_a_backward_pass(terms):
    student, teacher, _, ids = batch()
    student = torch.full_like(student, torch.inf).requires_grad_()
    losses = token_losses(student, two(teacher), ids, terms)
    losses.sum().backward()
    assert (losses == 0).all()
    assert (student.grad == 0).all()


def test_losses_of_bfloat16_logits_are_float32():
    student, teacher, _, ids = batch()
    term = Term("a", "teacher", REVERSE, torch.ones(2, 4))
    losses = token_losses(student.bfloat16(), two(teacher.bfloat16()), ids, [term])
    assert losses.dtype == torch.float32


class TestPool:
    def loss(self, pool: Pool | str) -> Tensor:
        student, teacher, reference, ids = batch()
        return token_losses(student, two(teacher, reference), ids, [Term("a", pool, REVERSE, torch.ones(2, 4))])

    def test_linear(self):
        student, teacher, reference, _ = batch()
        target = (0.3 * teacher.softmax(-1) + 0.7 * reference.softmax(-1)).log()
        assert torch.allclose(self.loss(pool_of_two(0.3)), divergence(student, target))

    @pytest.mark.parametrize("weight", [0.3, 1.5])
    def test_geometric(self, weight):
        student, teacher, reference, _ = batch()
        masses = teacher.softmax(-1) ** weight * reference.softmax(-1) ** (1 - weight)
        target = (masses / masses.sum(-1, keepdim=True)).log()
        assert torch.allclose(self.loss(pool_of_two(weight, geometric=True)), divergence(student, target))

    @pytest.mark.parametrize("geometric", [False, True])
    def test_the_ends_are_the_sources(self, geometric):
        assert torch.allclose(self.loss(pool_of_two(1.0, geometric)), self.loss("teacher"))
        assert torch.allclose(self.loss(pool_of_two(0.0, geometric)), self.loss("reference"))

    def test_a_weight_per_token(self):
        weight = torch.tensor([[0.0, 1.0, 0.3, 0.3], [1.0, 0.0, 0.3, 0.3]])
        losses = self.loss(pool_of_two(weight))
        assert torch.allclose(losses[weight == 1], self.loss("teacher")[weight == 1])
        assert torch.allclose(losses[weight == 0], self.loss("reference")[weight == 0])
        assert torch.allclose(losses[:, 2:], self.loss(pool_of_two(0.3))[:, 2:])

    @pytest.mark.parametrize("pool", [pool_of_two(w, g) for w in (0.0, 0.5, 1.0) for g in (False, True)], ids=repr)
    def test_outcomes_that_both_sources_exclude_stay_excluded(self, pool):
        student = torch.tensor([[[0.0, 0.0, -torch.inf]]], requires_grad=True)
        teacher = torch.tensor([[[math.log(3), 0.0, -torch.inf]]])
        term = Term("a", pool, REVERSE, torch.ones(1, 1))
        losses = token_losses(student, two(teacher, teacher), torch.zeros(1, 1, dtype=torch.long), [term])
        losses.sum().backward()
        assert losses.item() == pytest.approx(0.5 * math.log(0.5 / 0.75) + 0.5 * math.log(0.5 / 0.25))
        assert student.grad.isfinite().all()


def test_a_missing_source_is_named():
    student, teacher, _, ids = batch()
    with pytest.raises(ConfigError, match=r"term 'light': needs the reference's scores"):
        token_losses(student, two(teacher), ids, [Term("light", "reference", REVERSE, torch.ones(2, 4))])
    with pytest.raises(ConfigError, match=r"term 'mix': needs the teacher's scores"):
        token_losses(student, two(None, teacher), ids, [Term("mix", pool_of_two(0.5), REVERSE, torch.ones(2, 4))])


def test_misaligned_sources_are_refused():
    student, teacher, _, ids = batch()
    term = Term("a", "teacher", REVERSE, torch.ones(2, 4))
    longer = torch.cat([teacher, teacher[:, :1]], dim=1)
    with pytest.raises(ValueError, match=r"teacher \(2, 5, 6\)"):
        token_losses(student, two(longer), ids, [term])
    with pytest.raises(ValueError, match=r"term 'b': .*weight \(2, 3\)"):
        token_losses(student, two(teacher), ids, [Term("b", "teacher", REVERSE, torch.ones(2, 3))])


def test_top_k_above_the_vocabulary_is_refused_even_where_no_token_uses_it():
    student, teacher, _, ids = batch()
    with pytest.raises(ConfigError, match=r"top_k: 7 .* 6 tokens"):
        token_losses(
            student, two(teacher), ids, [Term("a", "teacher", Divergence(support="top_k", top_k=7), torch.zeros(2, 4))]
        )
