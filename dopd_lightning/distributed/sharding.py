"""Policies whose weights are spread over processes: FSDP2 (``fully_shard``), by decoder layer.

Between a policy's steps every process holds its share of each weight; a layer is gathered just before it computes, and
let go again. Whatever reads weights without calling the policy (the loss reads output heads), or calls it many times
in a row (generation), asks for them gathered first.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast
from weakref import WeakSet

import torch
from lightning.pytorch.strategies import ModelParallelStrategy
from torch import nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict, set_model_state_dict
from torch.distributed.fsdp import FSDPModule, fully_shard

from dopd_lightning.errors import ConfigError
from dopd_lightning.moved import current_names

if TYPE_CHECKING:
    from torch.distributed.device_mesh import DeviceMesh


_gathered: WeakSet[nn.Module] = WeakSet()
"""The policies that are gathered now."""


class FullyShardedStrategy(ModelParallelStrategy):
    """FSDP2 over all processes, which each read batches of their own.

    (Lightning's own default shards over no process of a node: it keeps those for tensor parallelism.)

    Checkpoints are single files with whole tensors, the same as of every other strategy: a run goes on with another
    strategy, or on another number of processes.
    """

    def __init__(self) -> None:
        super().__init__(save_distributed_checkpoint=False)

    def load_checkpoint(self, checkpoint_path: str | Path, weights_only: bool | None = None) -> dict[str, Any]:
        """Load as Lightning does, and weights that an earlier version saved under other names."""
        checkpoint = super().load_checkpoint(checkpoint_path, weights_only)
        path = self.broadcast(checkpoint_path)
        saved = torch.load(path, mmap=True, map_location="cpu", weights_only=True)["state_dict"]
        renamed = {name: value for name, value in current_names(saved).items() if name not in saved}
        if renamed:
            options = StateDictOptions(full_state_dict=True, broadcast_from_rank0=True, strict=False)
            set_model_state_dict(cast(nn.Module, self.model), renamed, options=options)
        return checkpoint

    def setup_environment(self) -> None:
        self._data_parallel_size, self._tensor_parallel_size = self.num_nodes * self.num_processes, 1
        super().setup_environment()


def shard(policy: nn.Module, mesh: DeviceMesh) -> None:
    """Spread the weights of a policy over the processes of ``mesh``, in place.

    Args:
        policy: a transformers model, whole, on each process.
        mesh: of one dimension.

    Raises:
        ConfigError: if transformers does not say what the model's decoder layers are, or a layer mixes dtypes.
    """
    names = set(getattr(policy, "_no_split_modules", None) or ())
    layers = [module for module in policy.modules() if type(module).__name__ in names]
    if not layers:
        raise ConfigError(
            f"trainer.strategy: {type(policy).__name__} does not name its decoder layers, by which FSDP2 would shard "
            "it; use strategy=ddp"
        )
    dtypes = {weight.dtype for weight in policy.parameters()}
    if len(dtypes) > 1:
        found = " and ".join(sorted(str(dtype).removeprefix("torch.") for dtype in dtypes))
        raise ConfigError(
            f"trainer.strategy: FSDP2 shards weights of one dtype, and {type(policy).__name__} has {found}; give its "
            "parts one dtype, or use strategy=ddp"
        )
    for layer in layers:
        fully_shard(layer, mesh=mesh)
    # Its own weights, embedding and head, stay from its forward pass until backward: the loss reads the head.
    fully_shard(policy, mesh=mesh, reshard_after_forward=False)


def is_sharded(policy: nn.Module) -> bool:
    """Return whether :func:`shard` was called on the model."""
    return isinstance(policy, FSDPModule)


@contextmanager
def gathered(policy: nn.Module) -> Iterator[None]:
    """Keep a sharded policy's weights gathered on every process, over all calls inside the block.

    All processes have to enter. They may then call the policy at different times, or not at all. Inside itself, and for
    a policy that is not sharded, it does nothing.
    """
    shards = [module for module in policy.modules() if isinstance(module, FSDPModule) and policy not in _gathered]
    if not shards:
        yield
        return
    _gathered.add(policy)
    for module in shards:
        module.unshard()
        module.set_reshard_after_forward(False, recurse=False)
    try:
        yield
    finally:
        _gathered.discard(policy)
        for module in shards:
            module.set_reshard_after_forward(module is not policy, recurse=False)
            module.reshard()


def whole_weights(policy: nn.Module) -> dict[str, Any]:
    """The policy's state dict with whole tensors, in the first process; all have to call it. In others it is empty."""
    if not is_sharded(policy):
        return policy.state_dict()
    return get_model_state_dict(policy, options=StateDictOptions(full_state_dict=True, cpu_offload=True))


def let_go(policy: nn.Module) -> None:
    """Have only this process's share of what a forward pass without gradient left gathered (embedding and head)."""
    if isinstance(policy, FSDPModule):
        policy.reshard()
