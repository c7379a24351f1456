from __future__ import annotations

import numpy as np
import pytest

from dopd_lightning.maps import heatmap


def test_a_picture_of_tokens_and_steps(plain_snapshot, plain_response):
    snapshots = [plain_snapshot(plain_response(3), plain_response(5, number=1), step=step) for step in (0, 50, 100)]
    picture = heatmap(snapshots)
    assert picture.dtype == np.uint8
    assert picture.ndim == 3
    assert picture.shape[2] == 3
    colours = {tuple(colour) for colour in picture.reshape(-1, 3)}
    assert (253, 231, 37) in colours, "viridis's brightest, for the largest value"
    assert len(colours) > 5, "one for each of the five values, and those of the axes"


def test_it_grows_with_prompts_and_steps(plain_snapshot, plain_response):
    def height(prompts, steps):
        responses = [plain_response(number=number) for number in range(prompts)]
        return heatmap([plain_snapshot(*responses, step=step) for step in range(steps)]).shape[0]

    assert height(1, 1) < height(1, 10) < height(4, 10)
    assert height(8, 1) == height(30, 1), "no more than eight prompts"


@pytest.mark.parametrize("names", [("student_entropy",), ("loss",)])
def test_it_draws_what_there_is(plain_snapshot, plain_response, names):
    drawn = heatmap([plain_snapshot(plain_response(names=names))])
    assert (drawn is None) == (names == ("loss",))


def test_of_nothing_there_is_none(plain_snapshot, plain_response):
    assert heatmap([]) is None
    assert heatmap([plain_snapshot(plain_response(fixed=False))]) is None
    assert heatmap([plain_snapshot(plain_response(0))]) is None


def test_a_sources_name_is_no_formula(make_snapshot):
    assert heatmap([make_snapshot(["a", "b"], without=["gap"], sources=[r"$\frac$"])]) is not None
