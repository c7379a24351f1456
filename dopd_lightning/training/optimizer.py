"""The default optimizer."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn

from dopd_lightning.errors import check_range


def adamw(
    parameters: Iterable[nn.Parameter],
    lr: float = 5e-6,
    weight_decay: float = 0.01,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
) -> torch.optim.AdamW:
    """Make an AdamW optimizer with weight decay of matrices only, not of norms and biases (one dimension).

    Args:
        parameters: parameters to train.
        lr: learning rate; the default is the paper's (DOPD, arXiv 2606.30626, Sec. 4.1).
        weight_decay: weight decay of parameters with two or more dimensions.
        beta1, beta2: decay of the two moments, at least 0 and below 1.
        eps: term added to the denominator, above 0.

    Raises:
        ConfigError: for a value out of range.
    """
    for name, value in {"lr": lr, "weight_decay": weight_decay}.items():
        check_range(name, value, at_least=0)
    for name, value in {"beta1": beta1, "beta2": beta2}.items():
        check_range(name, value, at_least=0, below=1)
    check_range("eps", eps, above=0)
    parameters = list(parameters)
    groups = [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW([group for group in groups if group["params"]], lr=lr, betas=(beta1, beta2), eps=eps)
