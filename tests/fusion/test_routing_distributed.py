"""Routing under several processes is routing of the whole batch: the paper's means know nothing of devices."""

from __future__ import annotations

import os
from pathlib import Path

import torch
import torch.distributed
import torch.multiprocessing
from torch import Tensor

from dopd_lightning.fusion import route

TOKENS = 24


def _batch() -> tuple[Tensor, Tensor, Tensor]:
    """Two rollouts, one a process: the gaps of the second are far larger, and it has a masked token."""
    generator = torch.Generator().manual_seed(0)
    teacher = -torch.rand(2, TOKENS, generator=generator)
    reference = teacher - torch.rand(2, TOKENS, generator=generator) * torch.tensor([[0.5], [3.0]])
    mask = torch.ones(2, TOKENS, dtype=torch.bool)
    mask[1, -1] = False
    return teacher, reference, mask


def _route_own_row(rank: int, folder: str) -> None:
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    own = [rows[rank : rank + 1] for rows in _batch()]
    torch.save(route(*own), os.path.join(folder, f"{rank}.pt"))
    own[2] = own[2] & (rank == 0)  # the second process has no token at all, and must not leave the first waiting
    torch.save(route(*own), os.path.join(folder, f"{rank}_alone.pt"))
    torch.distributed.destroy_process_group()


def test_two_processes_route_as_one(tmp_path: Path) -> None:
    torch.multiprocessing.spawn(_route_own_row, args=(str(tmp_path),), nprocs=2)

    teacher, reference, mask = _batch()
    whole = route(teacher, reference, mask)
    parts = torch.cat([torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1)])
    assert parts.equal(whole)
    alone = [route(teacher[i : i + 1], reference[i : i + 1], mask[i : i + 1]) for i in (0, 1)]
    assert not torch.cat(alone).equal(whole), "the example must tell local means from global ones"

    assert torch.load(tmp_path / "0_alone.pt", weights_only=True).equal(alone[0])
    assert (torch.load(tmp_path / "1_alone.pt", weights_only=True) == -1).all()
