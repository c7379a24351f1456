"""Steps that show in the weights, and by how much."""

from __future__ import annotations

import torch


def sgd(parameters):
    """An optimizer whose steps are the gradients."""
    return torch.optim.SGD(parameters, lr=1.0)


def weights(policy):
    """Copies of a policy's parameters by name."""
    return {name: parameter.detach().clone() for name, parameter in policy.named_parameters()}


def distance(before, after):
    """Euclidean distance between two such copies."""
    return sum((after[name] - before[name]).square().sum() for name in before).sqrt().item()
