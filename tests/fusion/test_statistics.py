"""Statistics of each token."""

from __future__ import annotations

import math

import pytest
import torch

from dopd_lightning.divergence import divergence
from dopd_lightning.errors import ConfigError
from dopd_lightning.fusion import TokenStatistics
from tests.two_sources import statistics_of

SOURCES = ("student", "teacher", "reference")
NAMES = [f"{source}_{what}" for source in SOURCES for what in ("logp", "entropy")] + ["teacher_divergence", "gap"]


def logits(seed: int = 0):
    return torch.randn(3, 2, 4, 6, generator=torch.Generator().manual_seed(seed)).unbind()


IDS = torch.tensor([[0, 5, 2, -100], [3, -1, -1, -1]])
MASK = torch.tensor([[1, 1, 1, 0], [1, 0, 0, 0]]).bool()


def test_by_hand():
    student = torch.tensor([[[0.5, 0.25, 0.25]]]).log()
    teacher = torch.tensor([[[0.8, 0.1, 0.1]]]).log() + 7
    reference = torch.tensor([[[0.1, 0.8, 0.1]]]).log() - 2
    statistics = statistics_of(student, teacher, reference, torch.tensor([[1]]), torch.tensor([[True]]))
    assert statistics.student_logp.item() == pytest.approx(math.log(0.25))
    assert statistics.teacher_logp.item() == pytest.approx(math.log(0.1))
    assert statistics.reference_logp.item() == pytest.approx(math.log(0.8))
    assert statistics.gap.item() == pytest.approx(math.log(8))
    assert statistics.student_entropy.item() == pytest.approx(1.5 * math.log(2))
    assert statistics.teacher_entropy.item() == pytest.approx(-0.8 * math.log(0.8) - 0.2 * math.log(0.1))
    assert statistics.reference_entropy.item() == pytest.approx(statistics.teacher_entropy.item())
    # 0.5 ln(0.5 / 0.8) + 0.5 ln(0.25 / 0.1)
    assert statistics.teacher_divergence.item() == pytest.approx(0.5 * math.log(0.625) + 0.5 * math.log(2.5))


def test_each_is_in_its_place_detached_float32_and_zero_where_masked():
    student, teacher, reference = (each.double().requires_grad_() for each in logits())
    statistics = statistics_of(student, teacher, reference, IDS, MASK)
    for name in NAMES:
        values = getattr(statistics, name)
        assert values.shape == (2, 4)
        assert values.dtype == torch.float32
        assert not values.requires_grad
        assert (values[~MASK] == 0).all()
        assert (values[MASK] != 0).all()
    expected = student.log_softmax(-1)[0, 1, 5].float()
    assert statistics.student_logp[0, 1] == expected
    assert torch.allclose(statistics.teacher_divergence[MASK], divergence(student, teacher)[MASK].float())


@pytest.mark.parametrize("poison", [torch.nan, torch.inf])
def test_masked_logits_are_not_read(poison):
    clean = statistics_of(*logits(), IDS, MASK)
    dirty = statistics_of(
        *(each.masked_fill(~MASK.unsqueeze(-1), poison) for each in logits()), IDS.masked_fill(~MASK, 10**6), MASK
    )
    for name in NAMES:
        assert torch.equal(getattr(clean, name), getattr(dirty, name))


def test_an_absent_source_is_named():
    student, teacher, reference = logits()
    without_teacher = statistics_of(student, None, reference, IDS, MASK)
    without_reference = statistics_of(student, teacher, None, IDS, MASK)
    for name in ("teacher_logp", "teacher_entropy", "teacher_divergence"):
        with pytest.raises(ConfigError, match="no scores of the source 'teacher'"):
            getattr(without_teacher, name)
    for name in ("reference_logp", "reference_entropy"):
        with pytest.raises(ConfigError, match="no scores of the source 'reference'"):
            getattr(without_reference, name)
    assert without_reference.teacher_logp.shape == (2, 4)


def test_no_token():
    statistics = statistics_of(*logits(), IDS, torch.zeros_like(MASK))
    for name in NAMES:
        assert (getattr(statistics, name) == 0).all()


def test_scatter():
    statistics = statistics_of(*logits(), IDS, MASK)
    assert statistics.scatter(torch.tensor([1.0, 2.0, 3.0, 4.0])).tolist() == [[1, 2, 3, 0], [4, 0, 0, 0]]


def test_shapes_are_checked():
    student, teacher, reference = logits()
    with pytest.raises(ValueError, match=r"teacher \(2, 3, 6\)"):
        statistics_of(student, teacher[:, :3], reference, IDS, MASK)
    with pytest.raises(ValueError, match=r"response_ids \(2, 3\)"):
        statistics_of(student, teacher, reference, IDS[:, :3], MASK)


def test_logits_without_a_name_are_refused():
    logits, ids = torch.zeros(1, 2, 4), torch.zeros(1, 2, dtype=torch.long)
    with pytest.raises(TypeError, match=r"source_logits is \w+; give logits by name, such as \{'teacher': logits\}"):
        TokenStatistics.from_logits(logits, logits, ids, torch.ones(1, 2))
