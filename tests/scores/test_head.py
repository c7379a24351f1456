"""A head's logits and gradients are those of the plain formula, however many rows it takes at once."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from dopd_lightning import head as head_module
from dopd_lightning.scores.head import Head, HeadGradient

WIDTH, VOCABULARY, PADDING = 5, 1100, 30
HEADS = {
    "weights": {},
    "bias": {"bias": True},
    "scale": {"scale": 0.3},
    "softcap": {"softcap": 2.0},
    "all": {"bias": True, "scale": 0.3, "softcap": 2.0},
}


@pytest.fixture(autouse=True)
def _several_tiles(monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)  # 512 rows at a time for logits
    monkeypatch.setattr(head_module, "COPIED_ROWS", 300)


def normal(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def make(bias: bool = False, dtype: torch.dtype = torch.float64, vocabulary: int = VOCABULARY, **fields: float) -> Head:
    rows = vocabulary + PADDING
    weight = normal(rows, WIDTH, dtype=dtype).requires_grad_()
    return Head(
        weight,
        normal(rows, seed=1, dtype=dtype).requires_grad_() if bias else None,
        **fields,
        vocabulary_size=vocabulary,
    )


def plain(head: Head, states: Tensor) -> Tensor:
    """Logits of all tokens in float64, with a graph."""
    logits = states.double() @ head.weight[: head.vocabulary_size].double().t()
    if head.bias is not None:
        logits = logits + head.bias[: head.vocabulary_size].double()
    logits = logits * head.scale
    return logits if head.softcap is None else head.softcap * torch.tanh(logits / head.softcap)


@torch.no_grad()
def logits_of(head: Head, states: Tensor, dtype: torch.dtype = torch.float64) -> Tensor:
    return head.logits(states, torch.full((len(states), head.vocabulary_size), torch.nan, dtype=dtype))


def zeros_for(head: Head, tokens: int, dtype: torch.dtype = torch.float64) -> HeadGradient:
    bias = None if head.bias is None else torch.zeros(head.bias.shape, dtype=dtype)
    return HeadGradient(
        head, torch.zeros(tokens, WIDTH, dtype=dtype), torch.zeros(head.weight.shape, dtype=dtype), bias
    )


def assert_close(found: Tensor | None, expected: Tensor | None, tolerance: float = 1e-12) -> None:
    assert (found is None) == (expected is None)
    if found is not None and expected is not None:
        torch.testing.assert_close(found.double(), expected.double(), rtol=tolerance, atol=tolerance)


def test_by_hand():
    head = Head(torch.tensor([[1.0, 2.0], [1.0, -1.0]]), torch.tensor([1.0, 0.0]), scale=0.5, softcap=4.0)
    (logits,) = head.logits(torch.tensor([[2.0, 1.0]]), torch.empty(1, 2)).tolist()
    assert logits == pytest.approx([4 * math.tanh(0.5 * 5 / 4), 4 * math.tanh(0.5 * 1 / 4)])


def test_tiles_are_every_real_row_once():
    assert [*make().tiles(500)] == [slice(0, 500), slice(500, 1000), slice(1000, 1100)]
    assert [*make().tiles(5000)] == [slice(0, 1100)]


def test_all_rows_are_real_unless_said():
    assert Head(torch.zeros(7, 2)).vocabulary_size == 7


@pytest.mark.parametrize("fields", HEADS.values(), ids=HEADS)
def test_logits(fields):
    head, states = make(**fields), normal(4, WIDTH, seed=2)
    assert_close(logits_of(head, states), plain(head, states).detach())


@pytest.mark.parametrize("fields", HEADS.values(), ids=HEADS)
def test_logits_of_some_tokens(fields):
    head, states = make(**fields), normal(4, WIDTH, seed=2)
    ids = torch.tensor([[0, 1099], [5, 5], [700, 2], [511, 512]])
    assert_close(head.logits_at(states, ids), plain(head, states).gather(-1, ids))


@pytest.mark.parametrize("fields", HEADS.values(), ids=HEADS)
def test_gradients_are_autograds(fields):
    """Four of seven tokens take part, in two chunks."""
    head, states = make(**fields), normal(7, WIDTH, seed=2).requires_grad_()
    found = zeros_for(head, 7)
    by_logits = normal(4, VOCABULARY, seed=3)
    order = torch.tensor([6, 0, 3, 2])
    for chunk in (slice(0, 3), slice(3, 4)):
        tokens, gradient = order[chunk], by_logits[chunk].clone()
        rows = states.detach()[tokens]
        head.to_product_(gradient, logits_of(head, rows))
        with torch.no_grad():
            found.add(tokens, rows, gradient)

    (plain(head, states)[order] * by_logits).sum().backward()
    assert_close(found.states, states.grad)
    assert_close(found.weight, head.weight.grad)
    assert_close(found.bias, None if head.bias is None else head.bias.grad)
    assert not found.states[[1, 4, 5]].any()
    assert not found.weight[VOCABULARY:].any()


@pytest.mark.parametrize("fields", HEADS.values(), ids=HEADS)
def test_gradients_by_some_logits_are_autograds(fields):
    head, states = make(**fields), normal(7, WIDTH, seed=2).requires_grad_()
    found = zeros_for(head, 7)
    by_logits = normal(4, 3, seed=3)
    order = torch.tensor([6, 0, 3, 2])
    ids = torch.tensor([[0, 1099, 7], [5, 6, 7], [700, 7, 2], [511, 512, 0]])  # some of several tokens
    for chunk in (slice(0, 3), slice(3, 4)):
        tokens, gradient = order[chunk], by_logits[chunk].clone()
        rows = states.detach()[tokens]
        with torch.no_grad():
            head.to_product_(gradient, head.logits_at(rows, ids[chunk]))
            found.add_at(tokens, rows, gradient, ids[chunk])

    (plain(head, states)[order].gather(-1, ids) * by_logits).sum().backward()
    assert_close(found.states, states.grad)
    assert_close(found.weight, head.weight.grad)
    assert_close(found.bias, None if head.bias is None else head.bias.grad)


@pytest.mark.parametrize("missing", ["states", "weight", "bias"])
@torch.no_grad()
def test_what_needs_no_gradient_gets_none_and_the_others_the_same(missing):
    head, states = make(bias=True), normal(2, WIDTH, seed=2)
    tokens, ids = torch.arange(2), torch.tensor([[0, 9], [9, 4]])
    parts = ("states", "weight", "bias")
    whole = zeros_for(head, 2)
    some = HeadGradient(head, *(None if part == missing else torch.zeros_like(getattr(whole, part)) for part in parts))
    for each in (whole, some):
        each.add(tokens, states, normal(2, VOCABULARY, seed=3))
        each.add_at(tokens, states, normal(2, 2, seed=4), ids)
    for part in parts:
        assert_close(getattr(some, part), None if part == missing else getattr(whole, part))


class Test16Bits:
    @pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
    @pytest.mark.parametrize("fields", [HEADS["weights"], HEADS["all"]], ids=["weights", "all"])
    def test_logits_are_multiplied_and_kept_in_32(self, dtype, fields):
        head, states = make(dtype=dtype, **fields), normal(4, WIDTH, seed=2, dtype=dtype)
        ids = torch.tensor([[0, 1099], [5, 5], [700, 2], [511, 512]])
        expected = plain(head, states).detach()
        assert_close(logits_of(head, states, torch.float32), expected, 1e-5)
        at_ids = head.logits_at(states, ids)
        assert at_ids.dtype == torch.float32
        assert_close(at_ids.detach(), expected.gather(-1, ids), 1e-5)

    def test_weights_are_rounded_to_16_bit_states_as_under_autocast(self):
        head, states = make(dtype=torch.float32), normal(4, WIDTH, seed=2, dtype=torch.bfloat16)
        rounded = Head(head.weight.detach().bfloat16(), vocabulary_size=VOCABULARY)
        expected = plain(rounded, states)
        ids = torch.tensor([[0, 1099], [5, 5], [700, 2], [511, 512]])
        assert_close(logits_of(head, states, torch.float32), expected, 1e-5)
        assert_close(head.logits_at(states, ids).detach(), expected.gather(-1, ids), 1e-5)

    @torch.no_grad()
    def test_gradients_of_many_tokens_are_added_up_in_32(self):
        """A bfloat16 sum of ones stops at 256."""
        head = Head(torch.ones(3, WIDTH, dtype=torch.bfloat16))
        states = torch.ones(1000, WIDTH, dtype=torch.bfloat16)
        for add_at in (False, True):
            found = zeros_for(head, 1000, torch.float32)
            gradient, tokens = torch.ones(1000, 3), torch.arange(1000)
            if add_at:
                found.add_at(tokens, states, gradient, torch.arange(3).expand(1000, 3))
            else:
                found.add(tokens, states, gradient)
            assert (found.weight == 1000).all()
            assert (found.states == 3).all()
