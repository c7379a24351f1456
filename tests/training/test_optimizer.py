from __future__ import annotations

import torch
from torch import nn

from dopd_lightning.training.optimizer import adamw


def test_only_matrices_decay():
    matrix, vector = nn.Parameter(torch.ones(2, 2)), nn.Parameter(torch.ones(2))
    optimizer = adamw(iter([matrix, vector]), lr=0.1, weight_decay=0.5)
    matrix.grad, vector.grad = torch.zeros(2, 2), torch.zeros(2)
    optimizer.step()
    torch.testing.assert_close(matrix.detach(), torch.full((2, 2), 1 - 0.1 * 0.5))
    torch.testing.assert_close(vector.detach(), torch.ones(2))


def test_a_kind_of_parameter_that_is_not_there_makes_no_group():
    assert len(adamw([nn.Parameter(torch.ones(2, 2))]).param_groups) == 1
