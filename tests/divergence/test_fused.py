"""The engine equals the dense functions on the logits that it never holds."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import pytest
import torch
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from torch import Tensor

from dopd_lightning.divergence import Divergence, Pool, Term, fused_loss, reduce_loss, token_losses
from dopd_lightning.errors import ConfigError
from dopd_lightning.scores import StateScores
from dopd_lightning.scores.head import Head
from tests.two_sources import pool_of_two, two

ROLES = ("student", "teacher", "reference")


@dataclass
class Case:
    """Three policies at ``(batch, response)`` tokens, of different widths and padded vocabularies."""

    batch: int = 2
    response: int = 5
    vocabulary: int = 11
    seed: int = 0
    dtype: torch.dtype = torch.float64
    weight_dtype: torch.dtype | None = None
    bias: bool = False
    scale: float = 1.0
    softcap: float | None = None
    spread: float = 2.0
    states: dict[str, Tensor] = field(init=False)
    heads: dict[str, Head] = field(init=False)
    ids: Tensor = field(init=False)
    mask: Tensor = field(init=False)

    def __post_init__(self) -> None:
        generator = torch.Generator().manual_seed(self.seed)

        def normal(*shape: int, dtype: torch.dtype) -> Tensor:
            return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype).requires_grad_()

        widths, padding = {"student": 4, "teacher": 7, "reference": 4}, {"student": 2, "teacher": 0, "reference": 5}
        weight_dtype = self.weight_dtype or self.dtype
        self.states = {role: normal(self.batch, self.response, widths[role], dtype=self.dtype) for role in ROLES}
        self.heads = {
            role: Head(
                (normal(self.vocabulary + padding[role], widths[role], dtype=weight_dtype) * self.spread)
                .detach()
                .requires_grad_(),
                normal(self.vocabulary + padding[role], dtype=weight_dtype) if self.bias else None,
                self.scale,
                self.softcap,
                self.vocabulary,
            )
            for role in ROLES
        }
        self.ids = torch.randint(self.vocabulary, (self.batch, self.response), generator=generator)
        self.mask = torch.rand(self.batch, self.response, generator=generator) < 0.7

    def logits(self, role: str) -> Tensor:
        """The plain way, all of them, in float64."""
        head, n = self.heads[role], self.vocabulary
        product = self.states[role].double() @ head.weight[:n].double().t()
        product = product if head.bias is None else product + head.bias[:n].double()
        product = product * self.scale
        return product if self.softcap is None else self.softcap * (product / self.softcap).tanh()

    def student_tensors(self) -> list[Tensor]:
        head = self.heads["student"]
        return [self.states["student"], head.weight, *([] if head.bias is None else [head.bias])]

    def weight(self, seed: int) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        shape = (self.batch, self.response)
        weight = torch.rand(shape, generator=generator) * (torch.rand(shape, generator=generator) < 0.6)
        return weight * self.mask

    def dense(self, terms: list[Term], reduction: Any = "rollout", temperature: float = 1.0) -> list[Tensor]:
        """Loss, loss per token, and gradients."""
        student, *sources = (self.logits(role) / temperature for role in ROLES)
        per_token = token_losses(student, two(*sources), self.ids, terms)
        loss = reduce_loss(per_token, self.mask, reduction)
        return [loss, per_token, *torch.autograd.grad(loss, self.student_tensors())]

    def fused(
        self,
        terms: list[Term],
        reduction: Any = "rollout",
        temperature: float = 1.0,
        memory: float = 64,
        top_k: int = 0,
    ) -> list[Tensor]:
        """The same from the engine."""
        student, sources = self.scores(top_k=top_k, temperature=temperature, memory=memory)
        result = fused_loss(student, sources, terms, reduction)
        return [result.loss, result.per_token, *torch.autograd.grad(result.loss, self.student_tensors())]

    def scores(self, **settings: Any) -> tuple[StateScores, dict[str, StateScores]]:
        """The student's, and the sources'."""
        student, *sources = (
            StateScores(self.states[role], self.heads[role], self.ids, self.mask, **settings) for role in ROLES
        )
        return student, dict(zip(ROLES[1:], sources, strict=True))


def assert_equal(found: list[Tensor], expected: list[Tensor], tolerance: float = 1e-9) -> None:
    for a, b in zip(found, expected, strict=True):
        assert torch.allclose(a.double(), b.double(), rtol=tolerance, atol=tolerance), (a - b).abs().max()


DIVERGENCES = [
    Divergence(kind=kind, beta=0.3, support=support, top_k=top_k, top_k_of=of, tail=tail)
    for kind in ("reverse_kl", "forward_kl", "js")
    for support, top_k, of, tail in [
        ("full", 1, "target", "bucket"),
        ("sampled", 1, "target", "bucket"),
        *(
            ("top_k", k, of, tail)
            for k in (1, 4, 11)
            for of in ("target", "student")
            for tail in ("bucket", "renormalize")
        ),
    ]
]
TARGETS = ["teacher", "reference", pool_of_two(0.3), pool_of_two(1.7, geometric=True), "weighted"]


def term_of(case: Case, target: Any, divergence: Divergence, seed: int = 0) -> Term:
    if target == "weighted":
        target = pool_of_two(torch.rand(case.batch, case.response, generator=torch.Generator().manual_seed(seed)))
    return Term(f"{target} {divergence.kind}", target, divergence, case.weight(seed))


@pytest.mark.parametrize("table", [0, 4, 8])
@pytest.mark.parametrize("target", TARGETS, ids=str)
@pytest.mark.parametrize(
    "divergence", DIVERGENCES, ids=lambda d: f"{d.kind}-{d.support}-{d.top_k}-{d.top_k_of}-{d.tail}"
)
def test_each_term_equals_the_dense_one(divergence, target, table):
    case = Case(bias=True)
    terms = [term_of(case, target, divergence)]
    assert_equal(case.fused(terms, top_k=table), case.dense(terms))


def terms_of(case: Case, choices: list[tuple[int, int]]) -> list[Term]:
    """Terms by number, each on some of the tokens; "data" where the target's number is one too many."""
    terms = []
    for seed, (target, divergence) in enumerate(choices):
        if target == len(TARGETS):
            terms.append(Term("data", "data", Divergence(kind="forward_kl"), case.weight(seed)))
        else:
            terms.append(term_of(case, TARGETS[target], DIVERGENCES[divergence], seed))
    return terms


@settings(max_examples=150, deadline=None)
@given(
    batch=st.integers(1, 3),
    response=st.integers(1, 5),
    seed=st.integers(0, 10**6),
    bias=st.booleans(),
    scale=st.sampled_from([1.0, 0.4, 3.0]),
    softcap=st.sampled_from([None, 2.0, 30.0]),
    spread=st.sampled_from([0.1, 2.0, 30.0]),
    dtype=st.sampled_from([torch.float64, torch.float32]),
    choices=st.lists(st.tuples(st.integers(0, len(TARGETS)), st.integers(0, len(DIVERGENCES) - 1)), max_size=4),
    reduction=st.sampled_from(["rollout", "token"]),
    temperature=st.sampled_from([1.0, 0.7, 2.0]),
    memory=st.sampled_from([0.0, 0.0005, 64]),
    top_k=st.sampled_from([0, 3, 11]),
)
def test_any_sum_of_terms_equals_the_dense_one(
    batch, response, seed, bias, scale, softcap, spread, dtype, choices, reduction, temperature, memory, top_k
):
    # A saturated softcap makes ties, among which any K tokens are the top ones; and float32 cannot hold what large
    # logits make of a sampled token's ratio of probabilities.
    cap = softcap or torch.inf
    assume(scale * spread <= (2 * cap if dtype == torch.float64 else min(2, cap / 2)))
    case = Case(
        batch=batch, response=response, seed=seed, bias=bias, scale=scale, softcap=softcap, spread=spread, dtype=dtype
    )
    terms = terms_of(case, choices)
    found, expected = (
        case.fused(terms, reduction, temperature, memory, top_k),
        case.dense(terms, reduction, temperature),
    )
    size = max(1.0, *(float(each.detach().abs().max()) for each in expected))
    assert_equal(found, expected, 1e-9 if dtype == torch.float64 else 2e-4 * size)


EVERY_KIND_OF_WORK = [(0, 4), (1, 5), (0, 18), (2, 36), (3, 0), (5, 0), (0, 1), (1, 37)]


@pytest.mark.parametrize("memory", [0, 0.001, 0.01])
def test_the_result_does_not_depend_on_the_memory(memory):
    case = Case(batch=3, response=7, bias=True, softcap=5.0, dtype=torch.float32)
    terms = terms_of(case, EVERY_KIND_OF_WORK)
    assert_equal(case.fused(terms, memory=memory, top_k=4), case.fused(terms, memory=64, top_k=4), 1e-5)


def test_the_result_does_not_depend_on_the_order_of_tokens():
    case = Case(batch=3, response=7, bias=True)
    terms = terms_of(case, EVERY_KIND_OF_WORK)
    terms = [t for t in terms if not isinstance(t.target, Pool) or isinstance(t.target.weights["teacher"], float)]
    loss, per_token, states, *rest = case.fused(terms, "token", memory=0.001, top_k=4)

    order = torch.randperm(21, generator=torch.Generator().manual_seed(1))

    def shuffled(tensor: Tensor) -> Tensor:
        return tensor.detach().flatten(0, 1)[order].unflatten(0, (3, 7))

    case.states = {role: shuffled(each).requires_grad_() for role, each in case.states.items()}
    case.ids, case.mask = shuffled(case.ids), shuffled(case.mask)
    terms = [Term(t.name, t.target, t.divergence, shuffled(t.weight)) for t in terms]
    expected = [loss, shuffled(per_token), shuffled(states), *rest]
    assert_equal(case.fused(terms, "token", memory=0.001, top_k=4), expected)


@pytest.mark.parametrize("target", [0, 1, 2])
def test_16_bit_weights_and_states_are_multiplied_and_summed_in_32_bits(target):
    case = Case(vocabulary=200, dtype=torch.bfloat16, bias=True)
    terms = terms_of(case, [(target, 0), (target, 3), (target, 4)])
    found, expected = case.fused(terms, top_k=4), case.dense(terms)
    assert found[0].dtype == found[1].dtype == torch.float32
    assert all(each.dtype == torch.bfloat16 for each in found[2:])
    assert_equal(found[:2], expected[:2], 1e-5)  # logits in bfloat16 would be off by 1e-2
    assert_equal(found[2:], expected[2:], 2**-8)  # rounded once, at the end


def test_under_autocast_factors_are_rounded_and_sums_are_not():
    case = Case(vocabulary=200, dtype=torch.float32)
    terms = terms_of(case, [(0, 0)])
    with torch.autocast("cpu", torch.bfloat16):
        found = case.fused(terms)
    assert [each.dtype for each in found] == [torch.float32] * 4
    rounded = Case(vocabulary=200, dtype=torch.float32)
    for role in ROLES:
        head = rounded.heads[role]
        rounded.states[role] = rounded.states[role].detach().bfloat16().float().requires_grad_()
        weight = head.weight.detach().bfloat16().float().requires_grad_()
        rounded.heads[role] = Head(weight, vocabulary_size=head.vocabulary_size)
    assert_equal(found, rounded.dense(terms), 1e-5)


def test_a_scaled_loss_has_a_scaled_gradient_even_where_16_bits_would_lose_it():
    case = Case(dtype=torch.float16, spread=1.0)
    case.mask[:] = True
    term = Term("a", "teacher", Divergence(), torch.full((2, 5), 1e-7))
    result = fused_loss(*case.scores(), [term])
    (result.loss * 65536).backward()
    loss = 65536 * reduce_loss(
        token_losses(case.logits("student"), two(case.logits("teacher")), case.ids, [term]), case.mask
    )
    expected = torch.autograd.grad(loss, case.states["student"])[0]
    assert torch.allclose(case.states["student"].grad, expected, rtol=1e-2)
    assert expected.abs().max() > 1e-5


def test_only_the_student_gets_a_gradient():
    case = Case()
    fused_loss(*case.scores(top_k=4), terms_of(case, EVERY_KIND_OF_WORK)).loss.backward()
    assert case.states["student"].grad.abs().sum() > 0
    for role in ROLES[1:]:
        assert case.states[role].grad is None
        assert case.heads[role].weight.grad is None


@pytest.mark.parametrize("frozen", ["states", "weight"])
def test_what_is_frozen_gets_no_gradient_and_the_other_the_same(frozen):
    case = Case()
    terms = terms_of(case, [(0, 0), (0, 5)])
    loss, _, of_states, of_weight = case.fused(terms, top_k=4)
    states, head = case.states["student"], case.heads["student"]
    (states if frozen == "states" else head.weight).requires_grad_(False)
    result = fused_loss(*case.scores(top_k=4), terms)
    result.loss.backward()
    assert torch.equal(result.loss, loss)
    assert (states.grad is None) == (frozen == "states")
    assert (head.weight.grad is None) == (frozen == "weight")
    assert_equal(
        [(head.weight if frozen == "states" else states).grad], [of_weight if frozen == "states" else of_states]
    )


def test_a_head_tied_to_the_embedding_sums_both_gradients():
    case = Case()
    ids = torch.randint(11, (2, 5), generator=torch.Generator().manual_seed(3))
    weight, terms = case.heads["student"].weight, terms_of(case, [(0, 0)])
    case.states["student"] = weight[ids].tanh()
    result = fused_loss(*case.scores(), terms)
    logits = weight[ids].tanh() @ weight[:11].t()
    expected = reduce_loss(token_losses(logits, two(case.logits("teacher")), case.ids, terms), case.mask)
    assert_equal([torch.autograd.grad(result.loss, weight)[0]], [torch.autograd.grad(expected, weight)[0]])


@pytest.mark.parametrize("tokens", [0, 1])
@pytest.mark.parametrize("choices", [[], [(0, 0)], [(0, 5), (1, 4)]], ids=["no term", "full", "top_k"])
def test_one_token_or_none(tokens, choices):
    case = Case()
    case.mask[:] = False
    case.mask.view(-1)[3 : 3 + tokens] = True
    terms = [Term(t.name, t.target, t.divergence, case.mask.double()) for t in terms_of(case, choices)]
    found, expected = case.fused(terms, top_k=4), [torch.tensor(0.0)] * 4
    if terms and tokens:
        expected = case.dense(terms)
        assert found[0] > 0
    assert_equal([found[0]], [expected[0]])
    for each in found[2:]:
        assert each.isfinite().all()
        assert (each != 0).any() == bool(terms and tokens)


@pytest.mark.parametrize("poison", [torch.inf, torch.nan])
def test_masked_tokens_are_never_read(poison):
    case, terms = Case(), terms_of(Case(), EVERY_KIND_OF_WORK)
    clean = case.fused(terms, top_k=4)
    for role in ROLES:
        dirty = case.states[role].detach().masked_fill(~case.mask.unsqueeze(-1), poison)
        case.states[role] = dirty.requires_grad_()
    case.ids = case.ids.masked_fill(~case.mask, -100)
    dirty_result = case.fused(terms, top_k=4)
    assert_equal(dirty_result, clean, 0.0)


@settings(max_examples=150, deadline=None)
@example(2, 0, 0.0, 1e3, 0.01, 0, Divergence(support="top_k", top_k=1), 5)  # the whole vocabulary is in the table
@given(
    vocabulary=st.integers(1, 5),
    seed=st.integers(0, 10**6),
    excluded=st.sampled_from([0.0, 0.5, 1.0]),
    spread=st.sampled_from([1.0, 1e3, 1e5]),
    temperature=st.sampled_from([0.01, 1.0, 100.0]),
    target=st.integers(0, len(TARGETS)),
    divergence=st.sampled_from(DIVERGENCES),
    table=st.sampled_from([0, 5]),
)
def test_extremes_equal_the_dense_ones(vocabulary, seed, excluded, spread, temperature, target, divergence, table):
    """Tokens that heads exclude (all but one, too), logits and temperatures of any size, hardly any vocabulary."""
    divergence = replace(divergence, top_k=min(divergence.top_k, vocabulary))
    # Among tokens that are all below the floor, only some of the ways know which is the likelier.
    assume(divergence.tail == "bucket" or spread / temperature <= 1e3)
    case = Case(vocabulary=vocabulary, seed=seed, bias=True, spread=spread)
    generator = torch.Generator().manual_seed(seed)
    for role, head in case.heads.items():
        bias, kept = head.bias.detach().clone(), torch.randint(vocabulary, (), generator=generator)
        bias[(torch.rand(len(bias), generator=generator) < excluded) & (torch.arange(len(bias)) != kept)] = -torch.inf
        case.heads[role] = Head(head.weight, bias.requires_grad_(), vocabulary_size=vocabulary)
    case.ids = case.logits("student").argmax(-1)  # which the student may have sampled
    terms = [term_of(case, TARGETS[target], divergence, seed)] if target < len(TARGETS) else terms_of(case, [(5, 0)])
    found, expected = case.fused(terms, temperature=temperature, top_k=table), case.dense(terms, "rollout", temperature)
    assert all(each.isfinite().all() for each in found)
    for a, b in zip(found, expected, strict=True):
        assert_equal([a], [b], 1e-9 * max(1.0, b.detach().abs().max().item()))


@pytest.mark.parametrize("excluded", [-torch.inf, -3e4])
def test_a_student_comes_back_from_excluding_what_the_target_says(excluded):
    """The value stops at the floor, and the gradient of forward KL is p - q there as elsewhere."""
    case = Case(vocabulary=3, bias=True, spread=0.0)
    for role, of_token in (("student", excluded), ("teacher", 3e4)):
        bias = torch.tensor([0.0, of_token, 0.0, *([0.0] * 9)], dtype=torch.float64)
        case.heads[role] = Head(case.heads[role].weight, bias[: len(case.heads[role].weight)], vocabulary_size=3)
    case.heads["student"].bias.requires_grad_()
    case.mask[:] = True
    term = Term("a", "teacher", Divergence(kind="forward_kl"), case.mask.double())
    for loss, per_token, *_, of_bias in (case.fused([term]), case.dense([term])):
        assert loss.item() == pytest.approx(1e4)
        assert of_bias[:3].tolist() == pytest.approx([0.5, -1, 0.5])
        assert per_token.isfinite().all()


def test_a_second_backward_is_refused():
    case = Case()
    loss = fused_loss(*case.scores(), terms_of(case, [(0, 0)])).loss
    loss.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="second time"):
        loss.backward()


def test_without_gradient_there_is_none():
    case = Case()
    with torch.no_grad():
        result = fused_loss(*case.scores(), terms_of(case, [(0, 0)]))
    assert not result.loss.requires_grad


class TestBadInput:
    def test_a_missing_source_is_named(self):
        case = Case()
        student, sources = case.scores()
        with pytest.raises(ConfigError, match="term 'light': needs the reference's scores"):
            fused_loss(student, {}, [Term("light", "reference", Divergence(), case.weight(0))])
        del sources["teacher"]
        with pytest.raises(ConfigError, match="term 'mix': needs the teacher's scores"):
            fused_loss(student, sources, [Term("mix", pool_of_two(0.5), Divergence(), case.weight(0))])

    def test_top_k_above_the_vocabulary_is_refused_even_where_no_token_uses_it(self):
        case = Case()
        term = Term("a", "teacher", Divergence(support="top_k", top_k=12), torch.zeros(2, 5))
        with pytest.raises(ConfigError, match=r"top_k: 12 .* 11 tokens"):
            fused_loss(*case.scores(), [term])

    def test_misaligned_weights_are_refused(self):
        case = Case()
        with pytest.raises(ValueError, match=r"term 'a': .*weight \(2, 3\)"):
            fused_loss(case.scores()[0], {}, [Term("a", "data", Divergence(kind="forward_kl"), case.weight(0)[:, :3])])

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"response_ids": torch.zeros(2, 4, dtype=torch.long)}, "response tokens 8, the student's"),
            ({"vocabulary_size": 9}, "a vocabulary of 9, the student's 11"),
            ({"temperature": 0.5}, "temperature 0.5, the student's 1.0"),
        ],
    )
    def test_sources_that_do_not_fit_the_student_are_refused(self, change, message):
        case = Case()
        ids = change.get("response_ids", case.ids).clamp(max=8)
        mask = torch.ones_like(ids) if "response_ids" in change else case.mask
        head = Head(case.heads["teacher"].weight, vocabulary_size=change.get("vocabulary_size", 11))
        states = case.states["teacher"][:, : ids.shape[1]]
        teacher = StateScores(states, head, ids, mask, temperature=change.get("temperature", 1.0))
        with pytest.raises(ValueError, match=f"the teacher's scores have {message}"):
            fused_loss(case.scores()[0], {"teacher": teacher}, [])
