"""Routing, worked out by hand."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from dopd_lightning.errors import ConfigError
from dopd_lightning.fusion import Regime, Thresholds, advantage_gap, route, thresholds

LH, LL, HT, HS = Regime
MASKED = -1


def logp(*probs: float) -> Tensor:
    """One rollout's log-probabilities, ``(1, response)``."""
    return torch.tensor([probs]).log()


def everything(logps: Tensor) -> Tensor:
    return torch.ones_like(logps, dtype=torch.bool)


def thresholds_of(teacher: Tensor, reference: Tensor, **options) -> Thresholds:
    """Compute the thresholds as `route` does, of one rollout's log-probabilities."""
    gap = advantage_gap(teacher, reference)
    return thresholds(gap[0], teacher[0].exp(), reference[0].exp(), **options)


def test_regimes_have_the_documented_numbers():
    assert [int(regime) for regime in Regime] == [0, 1, 2, 3]
    assert [regime.name for regime in Regime] == ["LH", "LL", "HT", "HS"]


def test_the_gap_is_the_absolute_difference_in_nats():
    gap = advantage_gap(torch.tensor([-1.0, -3.0, -2.0]), torch.tensor([-2.5, -1.0, -2.0]))
    assert gap.tolist() == [1.5, 2.0, 0.0]


def test_the_gap_stays_finite():
    gap = advantage_gap(torch.tensor([-torch.inf, -1.0]), torch.tensor([-torch.inf, -torch.inf]))
    assert gap.tolist() == [0.0, 9999.0]


def test_the_four_regimes():
    # gaps: ln(4/3) = 0.29, ln 2 = 0.69, ln 8 = 2.08, ln 8 = 2.08; their mean 1.28
    # sums: 1.4, 0.3, 0.9, 0.9; their mean 0.875
    teacher, reference = logp(0.8, 0.2, 0.8, 0.1), logp(0.6, 0.1, 0.1, 0.8)
    regimes = route(teacher, reference, everything(teacher))
    assert regimes.tolist() == [[LH, LL, HT, HS]]
    assert regimes.dtype == torch.int64


def test_the_thresholds_are_the_means():
    teacher, reference = logp(0.8, 0.2, 0.8, 0.1), logp(0.6, 0.1, 0.1, 0.8)
    found = thresholds_of(teacher, reference)
    assert found.gap == pytest.approx((0.2876821 + 0.6931472 + 2 * 2.0794415) / 4)
    assert found.teacher_prob == pytest.approx(1.9 / 4)
    assert found.reference_prob == pytest.approx(1.6 / 4)


def test_masked_tokens_are_minus_one_and_count_nowhere():
    teacher, reference = logp(0.8, 0.2, 0.8, 0.1), logp(0.6, 0.1, 0.1, 0.8)
    padding = torch.tensor([[torch.nan, -torch.inf, 0.0]])
    long_teacher, long_reference = torch.cat([teacher, padding], 1), torch.cat([reference, padding - 50], 1)
    mask = torch.tensor([[1, 1, 1, 1, 0, 0, 0]])
    assert route(long_teacher, long_reference, mask).tolist() == [[LH, LL, HT, HS, MASKED, MASKED, MASKED]]


def test_means_are_over_the_batch_not_over_each_rollout():
    teacher = torch.tensor([[0.8, 0.2], [0.8, 0.1]]).log()
    reference = torch.tensor([[0.6, 0.1], [0.1, 0.8]]).log()
    assert route(teacher, reference, everything(teacher)).tolist() == [[LH, LL], [HT, HS]]


def test_equality_counts_as_high_gap_and_as_likely():
    # gaps 0, 0, ln 4: none is at the mean. Sums 1, 1, 1: all are at the mean.
    teacher, reference = logp(0.5, 0.5, 0.8), logp(0.5, 0.5, 0.2)
    assert route(teacher, reference, everything(teacher)).tolist() == [[LH, LH, HT]]


@pytest.mark.parametrize("n", [1, 2, 3, 7, 10, 1000])
def test_equal_gaps_are_all_high(n):
    """No gap is below the mean: the mean of equal gaps must not be rounded up."""
    for gap in (0.1, 0.3, 0.7, 1.1, 2.3):
        teacher, reference = torch.zeros(1, n), torch.full((1, n), -gap)
        assert (route(teacher, reference, everything(teacher)) == HT).all()
        assert (route(reference, teacher, everything(teacher)) == HS).all()


def test_a_source_compared_with_itself_has_no_gap():
    """Then all tokens tie at a gap of 0: the teacher everywhere."""
    teacher = logp(0.9, 0.1, 0.5)
    assert (route(teacher, teacher, everything(teacher)) == HT).all()


def test_one_token():
    mask = torch.ones(1, 1)
    assert route(logp(0.3), logp(0.2), mask).tolist() == [[HT]]
    assert route(logp(0.2), logp(0.3), mask).tolist() == [[HS]]


@pytest.mark.parametrize("normalize", ["none", "minmax", "zscore"])
@pytest.mark.parametrize("shape", [(2, 3), (2, 0), (0, 3)])
def test_no_token(normalize, shape):
    regimes = route(torch.zeros(shape), torch.zeros(shape), torch.zeros(shape), normalize=normalize)
    assert regimes.shape == shape
    assert (regimes == MASKED).all()
    assert thresholds(*[torch.zeros(0)] * 3, normalize=normalize) == Thresholds(0.0, 0.0, 0.0)


class TestOutliers:
    # gaps: 0 (18 times), 1, 19 -> mean 1, or 1/19 without the largest
    reference = torch.full((1, 20), -1.0)
    teacher = torch.tensor([[-1.0] * 18 + [-2.0, -20.0]])

    def test_the_largest_gaps_are_left_out_of_the_means(self):
        with_outlier = thresholds_of(self.teacher, self.reference, outlier_fraction=0.0)
        without = thresholds_of(self.teacher, self.reference, outlier_fraction=0.05)
        assert with_outlier.gap == pytest.approx(20 / 20)
        assert without.gap == pytest.approx(1 / 19)
        # of the probabilities' means too
        assert without.teacher_prob == pytest.approx((18 * 0.36787944 + 0.13533528) / 19)
        assert without.reference_prob == pytest.approx(0.36787944)

    def test_but_are_routed(self):
        regimes = route(self.teacher, self.reference, everything(self.teacher))
        assert regimes.tolist() == [[LH] * 18 + [HS, HS]]

    def test_the_setting_reaches_the_routing(self):
        # gaps: 0 (17 times), 1, 2, 19 -> mean 22/20, or 3/19 without the largest
        teacher = torch.tensor([[-1.0] * 17 + [-2.0, -3.0, -20.0]])
        every = route(teacher, self.reference, everything(teacher), outlier_fraction=0.0)
        assert every.tolist() == [[LH] * 17 + [LL, HS, HS]]
        assert route(teacher, self.reference, everything(teacher)).tolist() == [[LH] * 17 + [HS, HS, HS]]

    def test_the_default_leaves_out_one_in_twenty(self):
        assert thresholds_of(self.teacher, self.reference).gap == pytest.approx(1 / 19)
        short = thresholds_of(self.teacher[:, 1:], self.reference[:, 1:])
        assert short.gap == pytest.approx(20 / 19)  # floor(0.05 * 19) = 0

    def test_the_gap_counts_whoever_is_ahead(self):
        assert thresholds_of(self.reference, self.teacher).gap == pytest.approx(1 / 19)


class TestNormalize:
    # teacher: 0.1, 0.9, 0.5 (mean 0.5, range 0.8); reference: 0.2, 0.16, 0.06 (mean 0.14, range 0.14)
    teacher, reference = logp(0.1, 0.9, 0.5), logp(0.2, 0.16, 0.06)

    def expected(self, normalize: str) -> list[int]:
        """Follow the definition: normalise each signal, average, compare."""

        def signal(values: Tensor) -> Tensor:
            values = values[0].double()
            if normalize == "minmax":
                return (values - values.min()) / (values.max() - values.min())
            if normalize == "zscore":
                return (values - values.mean()) / values.std(correction=0)
            return values

        gap = signal((self.teacher - self.reference).abs())
        total = signal(self.teacher.exp()) + signal(self.reference.exp())
        return [
            (LH if total[i] >= total.mean() else LL)
            if gap[i] < gap.mean()
            else (HT if self.teacher[0, i] >= self.reference[0, i] else HS)
            for i in range(3)
        ]

    @pytest.mark.parametrize("normalize", ["none", "minmax", "zscore"])
    def test_equals_the_definition(self, normalize):
        regimes = route(self.teacher, self.reference, everything(self.teacher), normalize=normalize)
        assert regimes.tolist() == [self.expected(normalize)]

    def test_matters_for_the_sum_of_probabilities(self):
        teacher, reference = logp(0.4, 0.9, 0.5), logp(0.35, 0.30, 0.01)
        # means 0.6 and 0.22; ranges 0.5 and 0.34. Token 0: 0.75 < 0.82, but -0.2 / 0.5 + 0.13 / 0.34 = -0.018 < 0.
        assert route(teacher, reference, everything(teacher)).tolist() == [[LL, LH, HT]]
        assert route(teacher, reference, everything(teacher), normalize="minmax").tolist() == [[LL, LH, HT]]
        teacher = logp(0.45, 0.95, 0.40)
        # means 0.6 and 0.22; ranges 0.55 and 0.34. Token 0: 0.80 < 0.82, but -0.15 / 0.55 + 0.13 / 0.34 = 0.11 >= 0.
        assert route(teacher, reference, everything(teacher)).tolist() == [[LL, LH, HT]]
        assert route(teacher, reference, everything(teacher), normalize="minmax").tolist() == [[LH, LH, HT]]

    def test_scales_are_those_of_the_kept_tokens(self):
        gap = torch.tensor([0.0, 1.0, 9.0, 1.0])
        probs = torch.tensor([0.5, 0.7, 0.0, 0.6])
        found = thresholds(gap, probs, probs, outlier_fraction=0.25, normalize="minmax")
        assert found.teacher_prob == pytest.approx(0.6)
        assert found.teacher_scale == pytest.approx(0.2)
        found = thresholds(gap, probs, probs, outlier_fraction=0.25, normalize="zscore")
        assert found.reference_scale == pytest.approx((0.02 / 3) ** 0.5)

    @pytest.mark.parametrize("normalize", ["minmax", "zscore"])
    def test_no_spread_scales_by_one(self, normalize):
        same = torch.full((5,), 0.3)
        found = thresholds(same, same, same, normalize=normalize)
        assert (found.teacher_scale, found.reference_scale) == (1.0, 1.0)

    def test_the_teacher_ahead_is_always_on_raw_probabilities(self):
        # Last token: min-max normalised, the reference would be ahead, 0.2 / 0.35 against 0.4 / 0.8.
        teacher, reference = logp(0.1, 0.9, 0.5), logp(0.1, 0.45, 0.3)
        for normalize in ("none", "minmax", "zscore"):
            assert route(teacher, reference, everything(teacher), normalize=normalize)[0, 2] == HT


logps = st.floats(-30, 0, allow_nan=False, width=32)


@given(
    tokens=st.lists(st.tuples(logps, logps, st.booleans()), min_size=1, max_size=40),
    fraction=st.sampled_from([0.0, 0.05, 0.3]),
    normalize=st.sampled_from(["none", "minmax", "zscore"]),
)
@settings(max_examples=100, deadline=None)
def test_regimes_partition_the_response_tokens(tokens, fraction, normalize):
    teacher, reference, mask = (torch.tensor([column]) for column in zip(*tokens, strict=True))
    regimes = route(teacher, reference, mask, outlier_fraction=fraction, normalize=normalize)
    assert ((regimes == MASKED) == ~mask).all()
    assert sum((regimes == regime).sum() for regime in Regime) == mask.sum()
    # Swapping the sources swaps who is ahead and nothing else (ties aside).
    swapped = route(reference, teacher, mask, outlier_fraction=fraction, normalize=normalize)
    light = (regimes == LH) | (regimes == LL)
    assert ((swapped == LH) | (swapped == LL)).equal(light)
    apart = teacher != reference
    assert ((regimes == HT) & apart).equal((swapped == HS) & apart)


@pytest.mark.parametrize("fraction", [0.0, 0.3])
def test_the_order_of_tokens_does_not_matter(fraction):
    teacher, reference = -3 * torch.rand(2, 1, 500, generator=torch.Generator().manual_seed(0))
    order = torch.randperm(500, generator=torch.Generator().manual_seed(1))
    mask = everything(teacher)
    shuffled = route(teacher[:, order], reference[:, order], mask, outlier_fraction=fraction)
    assert shuffled.equal(route(teacher, reference, mask, outlier_fraction=fraction)[:, order])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"outlier_fraction": 1.0}, "outlier_fraction: 1.0 must be at least 0 and below 1"),
        ({"outlier_fraction": -0.1}, "outlier_fraction: -0.1"),
        ({"normalize": "rank"}, "normalize: 'rank' is not one of minmax, none, zscore"),
    ],
)
def test_bad_settings_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        route(logp(0.5), logp(0.5), torch.ones(1, 1), **options)


def test_different_shapes_are_refused():
    with pytest.raises(ValueError, match=r"route: .*reference_logp \(1, 1\)"):
        route(logp(0.5, 0.5), logp(0.5), torch.ones(1, 2))
