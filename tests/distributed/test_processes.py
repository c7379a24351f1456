"""A process on its own is all processes; several are tested in tests/distributed."""

from __future__ import annotations

import torch

from dopd_lightning.distributed.processes import first_process, gathered_objects, number_of_processes, summed


def test_alone_each_gives_back_what_it_was_given():
    assert number_of_processes() == 1
    assert summed(torch.tensor([1.0, 2.0])).tolist() == [1, 2]
    assert gathered_objects({"a": 1}) == [{"a": 1}]
    assert first_process("x") == "x"
