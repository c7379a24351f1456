"""Memory per GPU, computed from configs alone.

Nothing is allocated and nothing measured: models are made of fake tensors, which have shapes and no memory, and what
autograd keeps of their forward pass is added up. It is what tensors need; the CUDA context, the libraries' workspaces
and what fragmentation loses (a few GiB together) come on top.
"""

from dopd_lightning.memory.per_gpu import Memory, memory_per_gpu
from dopd_lightning.memory.policy import number_of_parameters

__all__ = ["Memory", "memory_per_gpu", "number_of_parameters"]
