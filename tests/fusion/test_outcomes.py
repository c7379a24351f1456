"""Rules that use rewards, by numbers worked out by hand: value and gradient."""

from __future__ import annotations

import math

import pytest
import torch

from dopd_lightning.divergence import Toward, loss_of, token_losses
from dopd_lightning.errors import ConfigError
from dopd_lightning.fusion import (
    DOPD,
    OPDVR,
    OPSA,
    R2OPD,
    DOPDOutcome,
    Regime,
    RewardMix,
    TeacherProbe,
    TokenStatistics,
    pairs_of,
)

NAN = float("nan")
# The student draws token 0 everywhere. Under the teacher it is likelier by log 1.6, or less likely by log 2.5.
LIKED, DISLIKED = [0.8, 0.2], [0.2, 0.8]
END = 1


def batch(teacher, rewards, group=None, ids=None, solved=None, reference=None):
    """Statistics of responses: by row, the teacher's probabilities at each token; the student is even."""
    teacher = torch.tensor(teacher).log()
    rows, width = teacher.shape[:2]
    student = torch.full((rows, width, 2), 0.5).log().requires_grad_()
    sources = {"teacher": teacher}
    if reference is not None:
        sources["reference"] = torch.tensor(reference).log()
    given = {"outcome": torch.tensor(rewards)} | ({} if solved is None else {"solved": torch.tensor(solved)})
    ids = torch.zeros(rows, width, dtype=torch.long) if ids is None else torch.tensor(ids)
    return TokenStatistics.from_logits(
        student,
        sources,
        ids,
        torch.ones(rows, width),
        end_ids=[END],
        rewards=given,
        group=torch.arange(rows) if group is None else torch.tensor(group),
    )


def weights(supervision):
    return {term.name: term.weight.tolist() for term in supervision.terms}


def gradient(statistics, supervision):
    """Gradient of the mean over rollouts by the student's logits, `(batch, response, vocab)`."""
    logits = statistics.student.logits.detach().requires_grad_()
    again = TokenStatistics.from_logits(
        logits,
        {name: each.logits for name, each in statistics.sources.items()},
        statistics.response_ids,
        statistics.mask,
    )
    loss_of(again.student, again.sources, supervision.terms).loss.backward()
    return logits.grad


class TestOPDVR:
    def test_tokens_are_taught_where_the_teacher_agrees_with_the_outcome(self):
        three = [LIKED, DISLIKED, [0.5, 0.5]]
        found = OPDVR()(batch([three, three, three], [1.0, 0.0, NAN]))
        assert weights(found) == {"opdvr": [[1, 0, 0], [0, 1, 0], [1, 1, 1]]}

    def test_on_the_sampled_support_it_is_the_published_policy_gradient(self):
        """max(0, A) for a right response, -max(0, -A) for a wrong one, times the gradient of -log student(y)."""
        statistics = batch([[LIKED, DISLIKED], [LIKED, DISLIKED]], [1.0, 0.0])
        found = gradient(statistics, OPDVR()(statistics))
        liked, disliked = math.log(0.8 / 0.5), math.log(0.2 / 0.5)
        by_logp = torch.tensor([0.5, -0.5])  # of log student(token 0) by the logits
        expected = torch.zeros(2, 2, 2)
        expected[0, 0] = -liked * by_logp
        expected[1, 1] = -disliked * by_logp
        torch.testing.assert_close(found, expected / 4)  # a mean over two tokens, and over two rollouts

    def test_the_smallest_reward_of_a_right_response(self):
        statistics = batch([[LIKED], [LIKED]], [0.7, 0.4])
        assert weights(OPDVR(right=0.5)(statistics)) == {"opdvr": [[1], [0]]}

    def test_the_sign_of_the_groups_advantage(self):
        rows = [[LIKED, DISLIKED]] * 5
        statistics = batch(rows, [0.9, 0.1, 0.4, 0.4, NAN], group=[0, 0, 1, 1, 1])
        found = OPDVR(group=True)(statistics)
        assert weights(found) == {"opdvr": [[1, 0], [0, 1], [0, 0], [0, 0], [1, 1]]}

    def test_any_support_and_source(self):
        rule = OPDVR(support="full", kind="js", source="maths", outcome="judge")
        assert rule.needs == {"maths", "judge"}
        assert rule.rewards == {"judge"}
        assert pairs_of(rule)[0].target == Toward("maths")


class TestR2OPD:
    def test_weights_by_hand(self):
        """|A| are log 1.6, log 2.5 and log 1.6: their median is log 1.6, and z A / ν are 1, -1.95 and 1."""
        end = [[0, 0, END]]
        liked, disliked = math.log(1.6), math.log(2.5)
        statistics = batch([[LIKED, DISLIKED, [0.2, 0.8]]], [1.0], ids=end)
        found = R2OPD(beta_gate=2.0)(statistics).terms[0].weight[0]
        gates = [1 / (1 + math.exp(-2.0 * z)) for z in (1, -disliked / liked, 1)]
        sizes = [liked, disliked, liked]
        mass = sum(sizes) / sum(gate * size for gate, size in zip(gates, sizes, strict=True))
        torch.testing.assert_close(found, torch.tensor([mass * gate for gate in gates]))

    def test_the_mass_of_a_response_is_kept(self):
        statistics = batch([[LIKED, DISLIKED, [0.3, 0.7]]], [0.0], ids=[[0, 0, END]])
        ahead = (statistics["teacher"].logp - statistics["student"].logp).abs()
        weight = R2OPD()(statistics).terms[0].weight
        assert (weight * ahead).sum().item() == pytest.approx(ahead.sum().item())

    def test_a_wrong_response_prefers_what_the_teacher_dislikes(self):
        right, wrong = (
            R2OPD(beta_gate=1.0)(batch([[LIKED, DISLIKED]], [reward], ids=[[0, END]])).terms[0].weight[0]
            for reward in (1.0, 0.0)
        )
        # The end is liked by log 1.6, as the first token is.
        assert right[0] == pytest.approx(right[1])
        mixed = batch([[LIKED, DISLIKED, LIKED]], [0.0], ids=[[0, 0, END]])
        weight = R2OPD(beta_gate=1.0)(mixed).terms[0].weight[0]
        assert weight[1] > 1 > weight[0]
        assert wrong[0] == pytest.approx(wrong[1])

    def test_cut_responses_and_unknown_outcomes_are_taught_plainly(self):
        rows = [[LIKED, DISLIKED]] * 3
        statistics = batch(rows, [1.0, NAN, 1.0], ids=[[0, 0], [0, END], [0, END]])
        weight = R2OPD()(statistics).terms[0].weight
        assert weight[:2].tolist() == [[1, 1], [1, 1]]

    def test_a_response_without_any_gap(self):
        statistics = batch([[[0.5, 0.5], [0.5, 0.5]]], [1.0], ids=[[0, END]])
        weight = R2OPD()(statistics).terms[0].weight
        assert weight.isfinite().all()

    @pytest.mark.parametrize("values", [[3.0], [3.0, 1.0], [3.0, 1.0, 2.0], [4.0, 1.0, 2.0, 3.0]])
    def test_medians(self, values):
        from dopd_lightning.fusion.r2_opd import medians

        padded = torch.tensor([[*values, 99.0], [0.0] * (len(values) + 1)])
        mask = torch.tensor([[True] * len(values) + [False], [False] * (len(values) + 1)])
        expected = torch.tensor(values).quantile(0.5).item()
        assert medians(padded, mask).tolist() == [pytest.approx(expected), 0]


class TestRewardMix:
    def test_the_gradient_is_the_sum_of_both(self):
        """Rewards 1 and 0 of one group: advantages 0.5 and -0.5, here twice as much."""
        statistics = batch([[LIKED], [LIKED]], [1.0, 0.0], group=[0, 0])
        supervision = RewardMix(reward_weight=2.0)(statistics)
        assert supervision.advantage.tolist() == [[1], [-1]]
        by_logp, p, q = torch.tensor([0.5, -0.5]), torch.tensor([0.5, 0.5]), torch.tensor(LIKED)
        kl = (p * (p / q).log()).sum()
        distilled = p * ((p / q).log() - kl)
        expected = torch.stack([distilled - by_logp, distilled + by_logp])[:, None] / 2
        torch.testing.assert_close(gradient(statistics, supervision), expected)

    def test_the_log_ratio_is_clipped_on_the_sampled_support(self):
        statistics = batch([[LIKED, [0.55, 0.45]]], [1.0])
        rule = RewardMix(support="sampled", clip=0.2)
        term = rule(statistics).terms[0]
        logits = statistics.student.logits
        loss = token_losses(logits, {"teacher": statistics.sources["teacher"].logits}, statistics.response_ids, [term])
        torch.testing.assert_close(loss[0], -torch.tensor([0.2, math.log(1.1)]))

    def test_an_unknown_reward_is_distilled_alone(self):
        supervision = RewardMix()(batch([[LIKED], [LIKED]], [1.0, NAN], group=[0, 0]))
        assert weights(supervision) == {"teacher": [[1], [1]], "reward": [[0], [0]]}

    @pytest.mark.parametrize(
        "options", [{"reward_weight": -1.0}, {"baseline": "mean"}, {"scale": 1}, {"clip": 0.0}], ids=str
    )
    def test_fields_are_checked(self, options):
        with pytest.raises(ConfigError, match=next(iter(options))):
            RewardMix(**options)


class TestTeacherProbe:
    def test_unsolved_prompts_learn_from_rewards_alone(self):
        rows = [[LIKED]] * 6
        statistics = batch(rows, [1.0, 0.0] * 3, group=[0, 0, 1, 1, 2, 2], solved=[0.3, 0.3, 1.0, 1.0, NAN, NAN])
        supervision = TeacherProbe()(statistics)
        assert weights(supervision)["teacher"] == [[0], [0], [1], [1], [1], [1]]
        assert supervision.advantage.tolist() == [[0.5], [-0.5], [0], [0], [0], [0]]

    def test_they_can_be_left_out(self):
        statistics = batch([[LIKED]] * 2, [1.0, 0.0], group=[0, 0], solved=[0.0, 0.0])
        found = weights(TeacherProbe(reward_weight=0.0)(statistics))
        assert found == {"teacher": [[0], [0]], "reward": [[0], [0]]}


def test_dopd_outcome_gives_the_references_tokens_in_wrong_responses_to_the_teacher():
    """A large gap with the reference ahead at the second token of each: HS."""
    teacher, reference = [[0.5, 0.5], [0.01, 0.99]], [[0.5, 0.5], [0.9, 0.1]]
    statistics = batch([teacher] * 3, [1.0, 0.0, NAN], reference=[reference] * 3)
    rule = DOPDOutcome(beta_light=0.6)
    supervision = rule(statistics)
    assert supervision.regimes[:, 1].tolist() == [Regime.HS] * 3
    found = {term.name: (term.target, term.weight[:, 1].tolist()) for term in supervision.terms}
    assert found["HS"] == (Toward("reference"), [pytest.approx(0.6), 0, pytest.approx(0.6)])
    assert found["HS_wrong"] == (Toward("teacher"), [0, pytest.approx(0.6), 0])
    plain = {term.name: term.weight for term in DOPD(beta_light=0.6)(statistics).terms}
    for term in supervision.terms:
        if term.name in ("LH", "LL", "HT"):
            assert term.weight.equal(plain[term.name])


def test_opsa_pushes_the_least_likely_tokens_down():
    """Two of four tokens; entropies of the student are log 2 at the first (largest) and 0.325 at the others."""
    student = torch.tensor([[[0.5, 0.5], [0.1, 0.9], [0.9, 0.1], [0.1, 0.9]]]).log()
    statistics = TokenStatistics.from_logits(student, {}, torch.zeros(1, 4, dtype=torch.long), torch.ones(1, 4))
    supervision = OPSA(share=0.75)(statistics)
    torch.testing.assert_close(supervision.advantage, torch.tensor([[-1.0, -0.5, 0.0, -0.5]]))
    assert OPSA().needs == frozenset()
    with pytest.raises(ConfigError, match="share"):
        OPSA(share=0.0)


@pytest.mark.parametrize(
    "rule", [OPDVR(), R2OPD(), RewardMix(), TeacherProbe(), DOPDOutcome()], ids=lambda r: type(r).__name__
)
def test_without_declared_pairs_a_rule_is_tried_with_made_up_rewards(rule):
    class Undeclared:
        needs, rewards = rule.needs, rule.rewards

        def __call__(self, statistics):
            return rule(statistics)

    assert {pair.divergence for pair in pairs_of(Undeclared())} == {pair.divergence for pair in pairs_of(rule)}
