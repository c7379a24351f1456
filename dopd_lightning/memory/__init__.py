"""Memory per GPU, computed from configs alone.

Nothing is allocated or measured. Models are built from fake tensors, which have shapes but no memory, and the tensors
that autograd keeps of their forward pass are added up. The result covers tensors only. The CUDA context, the libraries'
workspaces and fragmentation add a few GiB.
"""

from dopd_lightning.memory.per_gpu import Memory, memory_per_gpu
from dopd_lightning.memory.policy import number_of_parameters

__all__ = ["Memory", "memory_per_gpu", "number_of_parameters"]
