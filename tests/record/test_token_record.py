from __future__ import annotations

import copy
import pickle
from dataclasses import replace

import pytest
import torch

from dopd_lightning.record import TokenRecord

ZEROS = torch.zeros(1, 2)


@pytest.fixture
def record():
    policies = ("student", "maths", "teacher")
    logp, entropy = ({name: ZEROS + place + by for place, name in enumerate(policies)} for by in (0.0, 0.5))
    return TokenRecord(ZEROS.long(), ZEROS.bool(), ZEROS, logp=logp, entropy=entropy)


def test_the_names_before_read_the_mappings(record):
    for policy in ("student", "teacher"):
        assert getattr(record, f"{policy}_logp") is record.logp[policy]
        assert getattr(record, f"{policy}_entropy") is record.entropy[policy]
    assert (record.reference_logp, record.reference_entropy) == (None, None), "it takes no part"


def test_a_name_that_never_was_is_an_error(record):
    for name in ("techer_logp", "logps", "student_loss"):
        with pytest.raises(AttributeError, match=name):
            getattr(record, name)


def test_the_names_before_are_for_reading(record):
    with pytest.raises(AttributeError):
        record.teacher_logp = ZEROS
    with pytest.raises(TypeError, match="teacher_logp"):
        replace(record, teacher_logp=ZEROS)


@pytest.mark.parametrize(
    "again", [copy.copy, copy.deepcopy, replace, lambda record: pickle.loads(pickle.dumps(record))]
)
def test_they_stay_in_copies(record, again):
    found = again(record)
    assert torch.equal(found.teacher_logp, record.teacher_logp)
    assert torch.equal(found.student_entropy, record.student_entropy)
    assert found.reference_logp is None


def test_another_mapping_is_seen_under_the_names_before(record):
    assert replace(record, logp=record.logp | {"reference": ZEROS}).reference_logp is ZEROS
