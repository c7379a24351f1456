"""Sources that are made of others: against pools and choices of the members' own distributions."""

from __future__ import annotations

import pytest
import torch

from dopd_lightning.errors import ConfigError, DataError
from dopd_lightning.inputs import Responses, view_of
from dopd_lightning.rollout import Rollouts
from dopd_lightning.scores import Scoring
from dopd_lightning.sources import ByDomain, Ensemble, Policy, ScoringRequest, Snapshot

RESPONSES = Responses.from_lists([[70, 71], [80, 81, 82, 83], [90]], 0)
PROMPTS = [[40, 41, 42], [50], [60, 61]]
DOMAINS = ["maths", "code", "maths"]
EXAMPLES = [{"prompt": "?", "domain": domain} for domain in DOMAINS]
VOCABULARY = 279


class Hidden(torch.nn.Linear):
    """A head that cannot be read, although it does what a linear layer does."""


def hide_head(policy):
    policy.lm_head.__class__ = Hidden
    return policy


@pytest.fixture(params=["by states", "by logits"])
def policies(make_policy, request):
    made = {name: make_policy(seed) for name, seed in (("maths", 1), ("code", 2), ("poems", 3))}
    return made if request.param == "by states" else {name: hide_head(policy) for name, policy in made.items()}


@pytest.fixture
def asked(policies):
    def make(temperature=1.0, top_k=0):
        scoring = Scoring(VOCABULARY, temperature, 64)
        with pytest.warns() if any(type(p.lm_head) is Hidden for p in policies.values()) else _nothing():
            scoring.try_heads(policies)
        view = view_of(PROMPTS, RESPONSES, 0)
        return ScoringRequest(
            Rollouts(EXAMPLES, torch.arange(3), RESPONSES, torch.ones(3, dtype=torch.bool)), view, scoring, top_k
        )

    return make


def _nothing():
    from contextlib import nullcontext

    return nullcontext()


def log_probs(policy, temperature=1.0):
    """Log-probabilities at all response tokens, ``(tokens, vocab)``, each sequence alone."""
    rows = []
    for prompt, ids, mask in zip(PROMPTS, RESPONSES.ids.tolist(), RESPONSES.mask.tolist(), strict=True):
        response = [token for token, real in zip(ids, mask, strict=True) if real]
        logits = policy(input_ids=torch.tensor([[*prompt, *response]])).logits[0, :, :VOCABULARY]
        rows += [(logits[len(prompt) + n - 1] / temperature).log_softmax(-1) for n in range(len(response))]
    return torch.stack(rows).detach()


def every(scores, vocabulary=VOCABULARY):
    """The log-probabilities at the loss temperature, of all tokens in the order of their ids."""
    ids, logps = scores.likeliest(vocabulary, torch.arange(len(scores.logp)))
    return torch.zeros_like(logps).scatter(-1, ids, logps)


def assert_scores(scores, plain, tempered):
    ids = RESPONSES.ids[RESPONSES.mask]
    torch.testing.assert_close(scores.logp, plain.gather(-1, ids.unsqueeze(-1)).squeeze(-1), atol=2e-5, rtol=2e-5)
    torch.testing.assert_close(scores.entropy, -(plain.exp() * plain).sum(-1), atol=2e-5, rtol=2e-5)
    torch.testing.assert_close(every(scores), tempered, atol=5e-5, rtol=5e-5)


WEIGHTS = {"maths": 0.5, "code": 0.3, "poems": 0.2}
EXPONENTS = {"maths": 1.5, "code": -0.7, "poems": 0.2}


def pooled(policies, weights, geometric, temperature):
    rows = [weight * log_probs(policies[name], temperature) for name, weight in weights.items()]
    if geometric:
        return sum(rows).log_softmax(-1)
    return sum(weight * log_probs(policies[name], temperature).exp() for name, weight in weights.items()).log()


@pytest.mark.parametrize("temperature", [1.0, 0.7])
@pytest.mark.parametrize(("weights", "geometric"), [(WEIGHTS, False), (EXPONENTS, True)])
def test_an_ensemble_is_the_pool_of_its_members(policies, asked, make_policy, weights, geometric, temperature):
    source = Ensemble(policies, weights, geometric)
    scores = source.scores(make_policy(0), asked(temperature))
    plain, tempered = (pooled(policies, weights, geometric, t) for t in (1.0, temperature))
    assert_scores(scores, plain, tempered)


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_by_domain_each_response_is_scored_by_its_own(policies, asked, make_policy, temperature):
    source = ByDomain(policies)
    scores = source.scores(make_policy(0), asked(temperature, top_k=4))
    owner = [0, 0, 1, 1, 1, 1, 0]  # the domains of the three responses' tokens
    plain, tempered = (
        torch.stack([log_probs(policies[("maths", "code")[number]], t)[n] for n, number in enumerate(owner)])
        for t in (1.0, temperature)
    )
    assert_scores(scores, plain, tempered)


def test_a_member_without_weights_counts_alike_and_one_alone_is_itself(policies, asked, make_policy):
    alone = Ensemble({"maths": policies["maths"]}).scores(make_policy(0), asked())
    of_one = Policy(policies["maths"]).scores(make_policy(0), asked())
    torch.testing.assert_close(alone.logp, of_one.logp)
    alike = Ensemble(policies).scores(make_policy(0), asked())
    third = dict.fromkeys(policies, 1 / 3)
    torch.testing.assert_close(alike.logp, Ensemble(policies, third).scores(make_policy(0), asked()).logp)


def test_domains_may_have_other_names_than_members(policies):
    source = ByDomain(policies, column="task", domains={"algebra": "maths", "geometry": "maths", "1": "code"})
    assert [source.member_of({"prompt": "?", "task": task}) for task in ("geometry", 1)] == ["maths", "code"]
    with pytest.raises(DataError, match=r"task: 'law', of the prompt '\?', is not a domain .* algebra, geometry, 1"):
        source.check([{"prompt": "?", "task": "law"}])
    with pytest.raises(DataError, match="task: None"):
        source.check([{"prompt": "?"}])


def test_members_follow_the_student(make_policy):
    student = make_policy(0)
    source = Ensemble({"first": Snapshot(), "other": make_policy(1)})
    source.attach(student)
    assert list(source.policies(student)) == ["first", "other"]
    assert source.policies(student)["first"].lm_head.weight.equal(student.lm_head.weight)
    assert not any(weight.requires_grad for weight in source.parameters())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda p: Ensemble({}), "members: none is given"),
        (lambda p: Ensemble({"a.b": p}), "members: 'a.b' cannot be the name of a member"),
        (lambda p: Ensemble({"keys": p}), "members: 'keys' cannot be the name of a member"),
        (lambda p: Ensemble({"a": p}, {"b": 1.0}), "weights: they name b, but the members are a"),
        (lambda p: Ensemble({"a": p, "b": p}, {"a": 0.5, "b": 0.6}), "weights: the weights sum to 1.1"),
        (lambda p: Ensemble({"a": p, "b": p}, {"a": 1.5, "b": -0.5}), r"weights\.b: -0\.5 must be at least 0"),
        (lambda p: ByDomain({"a": p}, domains={"x": "b"}), "domains: 'x' maps to 'b', .* are a"),
    ],
)
def test_settings_that_cannot_work(make_policy, make, message):
    with pytest.raises(ConfigError, match=message):
        make(make_policy(1))
