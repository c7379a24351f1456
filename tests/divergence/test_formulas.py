"""Divergences between logits, against loops, closed forms and exact enumeration."""

from __future__ import annotations

import math
from itertools import pairwise, product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from dopd_lightning.divergence import Divergence, divergence
from dopd_lightning.errors import ConfigError

KINDS = ("reverse_kl", "forward_kl", "js")


def softmax(logits: list[float]) -> list[float]:
    largest = max(logits)
    masses = [math.exp(z - largest) for z in logits]
    return [mass / sum(masses) for mass in masses]


def kl(p: list[float], q: list[float]) -> float:
    return sum(a * math.log(a / b) for a, b in zip(p, q, strict=True) if a > 0)


def between(student: list[float], target: list[float], kind: str, beta: float) -> float:
    if kind == "reverse_kl":
        return kl(student, target)
    if kind == "forward_kl":
        return kl(target, student)
    m = [beta * t + (1 - beta) * s for s, t in zip(student, target, strict=True)]
    return beta * kl(target, m) + (1 - beta) * kl(student, m)


def by_loops(student_logits: list[float], target_logits: list[float], *, kind, beta, support, top_k, top_k_of, tail):
    """The divergence of one token, written out."""
    student, target = softmax(student_logits), softmax(target_logits)
    if support == "top_k":
        ranked = student if top_k_of == "student" else target
        inside = sorted(range(len(ranked)), key=lambda i: -ranked[i])[:top_k]
        outside = [i for i in range(len(ranked)) if i not in inside]

        def restrict(p: list[float]) -> list[float]:
            mass = sum(p[i] for i in inside)
            if tail == "renormalize":
                return [p[i] / mass for i in inside]
            return [p[i] for i in inside] + ([sum(p[i] for i in outside)] if outside else [])

        student, target = restrict(student), restrict(target)
    return between(student, target, kind, beta)


def random_logits(*shape: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    student, target = 2 * torch.randn(2, *shape, generator=generator, dtype=torch.float64)
    return student.requires_grad_(), target.requires_grad_()


SETTINGS = [
    {"kind": kind, "beta": beta, "support": support, "top_k": top_k, "top_k_of": top_k_of, "tail": tail}
    for kind in KINDS
    for beta in ((0.5, 0.2) if kind == "js" else (0.5,))
    for support, top_k, top_k_of, tail in [
        ("full", 1, "target", "bucket"),
        *product(["top_k"], [1, 3, 7], ["target", "student"], ["bucket", "renormalize"]),
    ]
]


@pytest.mark.parametrize("options", SETTINGS, ids=lambda options: "-".join(str(value) for value in options.values()))
def test_equals_the_loop_in_value_and_gradient(options):
    student, target = random_logits(2, 3, 7)

    per_token = divergence(student, target, **options)
    per_token.sum().backward()

    assert per_token.shape == (2, 3)
    step = 1e-6
    for b, n in product(range(2), range(3)):
        s, t = student[b, n].tolist(), target[b, n].tolist()
        assert per_token[b, n].item() == pytest.approx(by_loops(s, t, **options), abs=1e-9)
        for v in range(7):
            up, down = list(s), list(s)
            up[v] += step
            down[v] -= step
            slope = (by_loops(up, t, **options) - by_loops(down, t, **options)) / (2 * step)
            assert student.grad[b, n, v].item() == pytest.approx(slope, abs=1e-8)
    assert target.grad is None


def bernoulli(p: float) -> Tensor:
    return torch.tensor([math.log(p), math.log(1 - p)], dtype=torch.float64)


def test_closed_forms_of_two_outcomes():
    student, target = bernoulli(0.5), bernoulli(0.8)

    # 0.5 ln(0.5 / 0.8) + 0.5 ln(0.5 / 0.2) = ln 1.25
    assert divergence(student, target).item() == pytest.approx(math.log(1.25))
    # 0.8 ln(0.8 / 0.5) + 0.2 ln(0.2 / 0.5)
    assert divergence(student, target, kind="forward_kl").item() == pytest.approx(
        0.8 * math.log(1.6) + 0.2 * math.log(0.4)
    )
    # m = (0.65, 0.35)
    js = (
        0.4 * math.log(0.8 / 0.65)
        + 0.1 * math.log(0.2 / 0.35)
        + 0.25 * math.log(0.5 / 0.65)
        + 0.25 * math.log(0.5 / 0.35)
    )
    assert divergence(student, target, kind="js").item() == pytest.approx(js)


def test_gradient_of_reverse_kl_between_two_outcomes():
    student = bernoulli(0.5).requires_grad_()
    divergence(student, bernoulli(0.8)).backward()
    # p (1 - p) (ln(p / q) - ln((1 - p) / (1 - q))) = 0.25 ln(0.625 / 2.5) = -0.5 ln 2
    assert student.grad.tolist() == pytest.approx([-0.5 * math.log(2), 0.5 * math.log(2)])


def test_js_beta_is_the_targets_share():
    student, target = bernoulli(0.5), bernoulli(0.8)
    # m = 0.25 (0.8, 0.2) + 0.75 (0.5, 0.5) = (0.575, 0.425)
    expected = 0.25 * (0.8 * math.log(0.8 / 0.575) + 0.2 * math.log(0.2 / 0.425)) + 0.75 * (
        0.5 * math.log(0.5 / 0.575) + 0.5 * math.log(0.5 / 0.425)
    )
    assert divergence(student, target, kind="js", beta=0.25).item() == pytest.approx(expected)
    assert divergence(student, target, kind="js", beta=0.75).item() != pytest.approx(expected, rel=1e-2)


@pytest.mark.parametrize("kind", ["reverse_kl", "forward_kl"])
def test_js_becomes_a_kl_at_either_end(kind):
    student, target = random_logits(5)
    beta = 1e-7 if kind == "forward_kl" else 1 - 1e-7
    share = min(beta, 1 - beta)
    js = divergence(student, target, kind="js", beta=beta)
    assert js.item() / share == pytest.approx(divergence(student, target, kind=kind).item(), rel=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_equal_policies_have_no_divergence_and_no_gradient(kind):
    student, _ = random_logits(4, 9)
    per_token = divergence(student, student.detach() + 3.0, kind=kind)  # logits are free up to a constant
    per_token.sum().backward()
    assert torch.allclose(per_token, torch.zeros(4, dtype=torch.float64), atol=1e-12)
    assert torch.allclose(student.grad, torch.zeros_like(student), atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_the_gradient_moves_the_student_towards_the_target(kind):
    student, target = random_logits(6, 9)
    before = divergence(student, target, kind=kind)
    before.sum().backward()
    after = divergence(student.detach() - 0.1 * student.grad, target, kind=kind)
    assert (after < before).all()


# --- support: top-k ---------------------------------------------------------------------------------------------------


@given(data=st.data(), kind=st.sampled_from(KINDS), top_k_of=st.sampled_from(["target", "student"]))
@settings(max_examples=150, deadline=None)
def test_a_bucketed_top_k_lies_between_zero_and_the_full_divergence(data, kind, top_k_of):
    vocab = data.draw(st.integers(2, 8))
    logits = st.lists(st.floats(-30, 30, allow_nan=False), min_size=vocab, max_size=vocab)
    student = torch.tensor(data.draw(logits), dtype=torch.float64)
    target = torch.tensor(data.draw(logits), dtype=torch.float64)
    beta = data.draw(st.floats(0.05, 0.95))
    full = divergence(student, target, kind=kind, beta=beta).item()
    values = [
        divergence(student, target, kind=kind, beta=beta, support="top_k", top_k=k, top_k_of=top_k_of).item()
        for k in range(1, vocab + 1)
    ]
    for smaller, larger in pairwise(values):
        assert smaller <= larger + 1e-9  # a larger support tells more
    assert values[0] >= -1e-9
    assert values[-1] == pytest.approx(full, abs=1e-9)


def test_the_bucket_feels_mass_that_leaves_the_support():
    """Without a tail outcome, a student that agrees inside the support up to scale would look perfect."""
    target = torch.tensor([0.5, 0.3, 0.1, 0.1], dtype=torch.float64).log()
    student = torch.tensor([0.25, 0.15, 0.3, 0.3], dtype=torch.float64).log()
    bucket = divergence(student, target, support="top_k", top_k=2)
    renormalized = divergence(student, target, support="top_k", top_k=2, tail="renormalize")
    # 0.4 ln(0.5) + 0.6 ln(0.6 / 0.2)
    assert bucket.item() == pytest.approx(0.4 * math.log(0.5) + 0.6 * math.log(3))
    assert renormalized.item() == pytest.approx(0, abs=1e-12)


def test_whose_top_k():
    target = torch.tensor([0.7, 0.2, 0.1], dtype=torch.float64).log()
    student = torch.tensor([0.1, 0.2, 0.7], dtype=torch.float64).log()
    of_target = divergence(student, target, support="top_k", top_k=1, top_k_of="target")
    of_student = divergence(student, target, support="top_k", top_k=1, top_k_of="student")
    assert of_target.item() == pytest.approx(0.1 * math.log(0.1 / 0.7) + 0.9 * math.log(0.9 / 0.3))
    assert of_student.item() == pytest.approx(0.7 * math.log(0.7 / 0.1) + 0.3 * math.log(0.3 / 0.9))


def test_a_tiny_tail_is_not_lost_to_rounding():
    """One minus the support's mass is 0 in float32 here; the tail's own sum is not."""
    target = torch.tensor([0.0, -20.0, -25.0])
    student = torch.tensor([0.0, -40.0, -45.0])
    forward = divergence(student, target, kind="forward_kl", support="top_k", top_k=1)
    assert forward.item() == pytest.approx(math.exp(-20) * (1 + math.exp(-5)) * 20, rel=1e-3)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("tail", ["bucket", "renormalize"])
@pytest.mark.parametrize("top_k", [2, 5])
@pytest.mark.parametrize("excluded", ["target", "both", "student"])
def test_excluded_outcomes_give_finite_values_and_gradients(kind, tail, top_k, excluded):
    student = torch.tensor([[1.0, 0.0, -1.0, 0.5, 0.0]])
    target = torch.tensor([[0.0, 1.0, 0.5, -1.0, 0.0]])
    if excluded in ("target", "both"):
        target[0, [0, 3]] = -torch.inf
    if excluded in ("student", "both"):
        student[0, [0, 3]] = -torch.inf
    student.requires_grad_()
    for support in ("full", "top_k"):
        student.grad = None
        value = divergence(student, target, kind=kind, support=support, top_k=top_k, tail=tail)
        value.sum().backward()
        assert value.isfinite().all()
        assert student.grad.isfinite().all()
        assert value.item() >= 0
    if excluded == "both":  # then these outcomes play no part at all
        rest = divergence(student[:, [1, 2, 4]].detach(), target[:, [1, 2, 4]], kind=kind)
        assert divergence(student, target, kind=kind).item() == pytest.approx(rest.item(), abs=1e-6)


def test_top_k_above_the_vocabulary_is_refused():
    student, target = random_logits(2, 7)
    with pytest.raises(ConfigError, match=r"top_k: 8 .* 7 tokens"):
        divergence(student, target, support="top_k", top_k=8)


# --- types, shapes, settings ------------------------------------------------------------------------------------------


def test_low_precision_logits_are_compared_in_float32():
    student, target = random_logits(3, 50)
    student, target = student.detach().bfloat16(), target.detach().bfloat16()
    value = divergence(student, target)
    assert value.dtype == torch.float32
    assert torch.allclose(value, divergence(student.double(), target.double()).float(), rtol=1e-5)


def test_leading_dimensions_may_be_any():
    student, target = random_logits(7)
    assert divergence(student, target).shape == ()
    assert divergence(student.expand(0, 7), target.expand(0, 7), support="top_k", top_k=3).shape == (0,)


def test_different_shapes_are_refused():
    student, target = random_logits(2, 7)
    with pytest.raises(ValueError, match=r"student_logits \(2, 7\), target_logits \(2, 6\)"):
        divergence(student, target[:, :6])


@pytest.mark.parametrize(
    "options",
    [
        {"kind": "kl"},
        {"support": "all"},
        {"top_k": 0},
        {"beta": 0.0},
        {"beta": 1.0},
        {"tail": "drop"},
        {"top_k_of": "x"},
    ],
)
def test_bad_settings_are_refused(options):
    student, target = random_logits(2, 7)
    with pytest.raises(ConfigError, match=next(iter(options))):
        divergence(student, target, **options)


def test_defaults_are_those_of_the_dataclass():
    student, target = random_logits(2, 7)
    assert torch.equal(divergence(student, target), divergence(student, target, **vars(Divergence())))
