"""Draws repeat after a random state is restored."""

from __future__ import annotations

import random

import numpy as np
import torch

from dopd_lightning.distributed.random_state import random_state, set_random_state

CPU = torch.device("cpu")


def draw():
    return torch.rand(3).tolist(), np.random.rand(3).tolist(), random.random(), np.random.randn()


def test_all_generators_go_on_from_a_state_that_a_checkpoint_may_hold(tmp_path):
    np.random.randn()  # half of a pair of normal numbers waits in numpy's state
    torch.save(random_state(CPU), tmp_path / "state.pt")
    expected = draw()
    assert draw() != expected
    set_random_state(torch.load(tmp_path / "state.pt", weights_only=True), CPU)
    assert draw() == expected
