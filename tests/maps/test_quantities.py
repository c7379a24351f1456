from __future__ import annotations

import pytest

from dopd_lightning.maps.quantities import as_colours, in_record, quantities_of

PAIR = ("teacher", "reference")


def test_the_papers_pair_has_its_symbols_and_words():
    found = {quantity.name: quantity for quantity in quantities_of(PAIR)}
    assert found["gap"].label == "Gap |log q_T − log q_R|"
    assert found["teacher_probability"].label == "q_T, under the teacher"
    assert found["teacher_probability"].colouring == "Probability under the teacher"
    assert found["reference_probability"].meaning == "probability of the token under the privileged reference, q_R"
    assert found["reference_divergence"].colouring == "Divergence to the reference"
    assert found["student_entropy"].meaning == "entropy of the bare student (nats)"


def test_any_other_source_goes_by_its_name():
    found = {quantity.name: quantity for quantity in quantities_of(["maths", "teacher"])}
    assert found["maths_probability"].label == "Probability under maths"
    assert found["maths_divergence"].label == "KL(student ‖ maths)"
    assert found["maths_divergence"].colouring == "Divergence to maths"
    assert found["maths_entropy"].label == "Entropy of maths"
    assert "q_R" not in found["gap"].label, "there is no reference"
    assert found["teacher_probability"].label == "q_T, under the teacher"


@pytest.mark.parametrize("sources", [(), ("maths",), PAIR, ("a", "b", "c")])
def test_record_and_colours_have_every_quantity_and_the_share_of_the_loss(sources):
    names = {quantity.name for quantity in quantities_of(sources)} | {"loss_share"}
    for order in in_record(sources), as_colours(sources):
        assert {quantity.name for quantity in order} == names
        assert len(order) == len(names)
        assert [each.policy for each in order if each.kind == "divergence"] == list(sources)


def test_a_record_compares_the_student_with_the_sources_before_it():
    probabilities = [quantity.policy for quantity in in_record(PAIR) if quantity.kind == "probability"]
    assert probabilities == ["teacher", "reference", "student"]
