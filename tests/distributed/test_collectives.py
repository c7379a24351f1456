"""Two processes decide and reduce as one would with the whole batch."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.distributed
import torch.multiprocessing
from torch import Tensor

from dopd_lightning.divergence import reduce_loss
from dopd_lightning.fusion import DOPD, pairs_of, route

TOKENS = 24


def _batch() -> tuple[Tensor, Tensor, Tensor]:
    """Two rollouts, one a process: the second has far larger gaps, and fewer tokens."""
    generator = torch.Generator().manual_seed(0)
    teacher = -torch.rand(2, TOKENS, generator=generator)
    reference = teacher - torch.rand(2, TOKENS, generator=generator) * torch.tensor([[0.5], [3.0]])
    mask = torch.ones(2, TOKENS, dtype=torch.bool)
    mask[1, TOKENS // 2 :] = False
    return teacher, reference, mask


class _Undeclared:
    """A rule that routes, and does not say what its terms are."""

    needs = DOPD().needs

    def __call__(self, statistics):
        return DOPD()(statistics)


def _own_row(rank: int, folder: str) -> None:
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    teacher, reference, mask = (rows[rank : rank + 1] for rows in _batch())
    nothing = mask & (rank == 0)  # the second process without a token must not leave the first waiting
    if rank == 0:
        pairs_of(_Undeclared())  # tried by one process alone, a rule that compares with everyone's tokens must not wait
    torch.save(
        {
            "regimes": route(teacher, reference, mask),
            "regimes, second empty": route(teacher, reference, nothing),
            "loss": reduce_loss(teacher, mask, "token"),
            "loss, second empty": reduce_loss(teacher, nothing, "token"),
        },
        Path(folder) / f"{rank}.pt",
    )
    torch.distributed.destroy_process_group()


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """Results of each of the two processes."""
    folder = tmp_path_factory.mktemp("processes")
    torch.multiprocessing.spawn(_own_row, args=(str(folder),), nprocs=2)
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in (0, 1)]


def test_routing_compares_with_the_means_of_the_whole_batch(found):
    teacher, reference, mask = _batch()
    whole = route(teacher, reference, mask)
    assert torch.cat([each["regimes"] for each in found]).equal(whole)
    alone = torch.cat([route(teacher[i : i + 1], reference[i : i + 1], mask[i : i + 1]) for i in (0, 1)])
    assert not alone.equal(whole), "the example must tell local means from global ones"
    assert found[0]["regimes, second empty"].equal(alone[:1])
    assert (found[1]["regimes, second empty"] == -1).all()


def test_the_mean_over_tokens_has_one_denominator(found):
    teacher, _, mask = _batch()
    mean = (found[0]["loss"] + found[1]["loss"]) / 2  # as DDP averages gradients
    torch.testing.assert_close(mean, teacher[mask].mean())
    own_means = (teacher[0][mask[0]].mean() + teacher[1][mask[1]].mean()) / 2
    assert (mean - own_means).abs() > 1e-3, "the example must tell it from a mean of means"
    mean = (found[0]["loss, second empty"] + found[1]["loss, second empty"]) / 2
    torch.testing.assert_close(mean, teacher[0].mean())
