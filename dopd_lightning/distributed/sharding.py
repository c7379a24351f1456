"""Policies sharded over processes by FSDP2 (``fully_shard``), one decoder layer at a time.

Each process holds its shard of every weight. The weights of a layer are gathered just before the layer computes, and
released afterwards. Code that reads weights without calling the policy (the loss reads output heads), or that calls the
policy many times in a row (generation), first gathers them with :func:`gathered`.
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
"""Policies that are inside :func:`gathered` now."""


class FullyShardedStrategy(ModelParallelStrategy):
    """FSDP2 over all processes; each process reads its own batches.

    (Lightning's default strategy shards only between nodes; it uses the processes of a node for tensor parallelism.)

    Checkpoints are single files with whole tensors, as with every other strategy, so that a run can resume with another
    strategy or another number of processes.
    """

    def __init__(self) -> None:
        super().__init__(save_distributed_checkpoint=False)

    def load_checkpoint(self, checkpoint_path: str | Path, weights_only: bool | None = None) -> dict[str, Any]:
        """Load a checkpoint as Lightning does; also load weights that an earlier version saved under other names."""
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
    """Shard the weights of a policy over the processes of ``mesh``, in place.

    Args:
        policy: a transformers model, with whole weights on each process.
        mesh: one-dimensional device mesh.

    Raises:
        ConfigError: if transformers does not name the model's decoder layers, or the weights have more than one dtype.
    """
    names = set(getattr(policy, "_no_split_modules", None) or ())
    layers = [module for module in policy.modules() if type(module).__name__ in names]
    if not layers:
        raise ConfigError(
            f"trainer.strategy: {type(policy).__name__} does not name its decoder layers, and FSDP2 shards by layer; "
            "use strategy=ddp"
        )
    dtypes = {weight.dtype for weight in policy.parameters()}
    if len(dtypes) > 1:
        found = " and ".join(sorted(str(dtype).removeprefix("torch.") for dtype in dtypes))
        raise ConfigError(
            f"trainer.strategy: FSDP2 needs weights of one dtype, and {type(policy).__name__} has {found}; load all "
            "weights in one dtype, or use strategy=ddp"
        )
    for layer in layers:
        fully_shard(layer, mesh=mesh)
    # Embedding and head stay gathered from the forward to the backward pass: the loss reads the head.
    fully_shard(policy, mesh=mesh, reshard_after_forward=False)


def is_sharded(policy: nn.Module) -> bool:
    """Return whether :func:`shard` was called on the model."""
    return isinstance(policy, FSDPModule)


@contextmanager
def gathered(policy: nn.Module) -> Iterator[None]:
    """Keep a sharded policy's weights gathered on every process inside the block.

    All processes have to enter the block. Inside, they may call the policy at different times, or not at all. A block
    nested in another one for the same policy does nothing, and neither does a block for a policy that is not sharded.
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
    """Return the policy's state dict with whole tensors; all processes have to call it.

    The state dict of a sharded policy is on the CPU on rank 0, and empty on the other ranks.
    """
    if not is_sharded(policy):
        return policy.state_dict()
    return get_model_state_dict(policy, options=StateDictOptions(full_state_dict=True, cpu_offload=True))


def let_go(policy: nn.Module) -> None:
    """Release the weights (embedding and head) that a forward pass without gradient has left gathered."""
    if isinstance(policy, FSDPModule):
        policy.reshard()
