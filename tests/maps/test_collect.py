"""Maps collected from the record of a step: each source's numbers are under its name."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dopd_lightning.maps import ids_of, responses_of, sources_of
from dopd_lightning.record import Likeliest, TokenDetails, TokenRecord

POLICIES = ("student", "maths", "code", "teacher")
MASK = torch.tensor([[True, True, False], [True, False, False]])


@pytest.fixture
def record():
    """Two rollouts, of which details of the second are known."""
    values = {name: torch.arange(6.0).reshape(2, 3) + 10 * place for place, name in enumerate(POLICIES)}
    likeliest = Likeliest(torch.tensor([[[7], [0], [0]]]), torch.full((1, 3, 1), 0.5))
    details = TokenDetails(
        rollouts=[1],
        divergence={name: values[name][1:] + 0.5 for name in POLICIES[1:]},
        likeliest=dict.fromkeys(POLICIES, likeliest),
    )
    return TokenRecord(
        response_ids=torch.tensor([[1, 2, 0], [3, 0, 0]]),
        mask=MASK,
        loss=torch.ones(2, 3),
        logp={name: -values[name] for name in POLICIES},
        entropy=values,
        examples=[{"prompt": "a"}, {"prompt": "b"}],
        details=details,
    )


def test_each_sources_numbers_have_its_name(record):
    (response,) = responses_of(record, fixed=True)
    assert (response.prompt, response.token_ids.tolist()) == ("b", [3])
    assert set(response.quantities) == {
        "loss",
        *(f"{policy}_{kind}" for policy in POLICIES for kind in ("probability", "entropy")),
        *(f"{source}_divergence" for source in POLICIES[1:]),
    }
    for place, policy in enumerate(POLICIES):
        np.testing.assert_allclose(response.quantities[f"{policy}_probability"], np.exp(-3.0 - 10 * place), rtol=1e-5)
        assert response.quantities[f"{policy}_entropy"] == 3 + 10 * place
        if place:
            assert response.quantities[f"{policy}_divergence"] == 3.5 + 10 * place


def test_sources_are_known_in_their_order(record):
    responses = responses_of(record, fixed=True)
    assert sources_of(responses) == ["maths", "code", "teacher"]
    assert sources_of([]) == []
    assert ids_of(responses) == [3, 7]
