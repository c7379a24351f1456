"""Several datasets as one."""

from __future__ import annotations

from torch.utils.data import ConcatDataset, Dataset

from dopd_lightning.data.example import Example
from dopd_lightning.errors import ConfigError


class Concatenation(ConcatDataset[Example]):
    """The examples of several datasets, one dataset after the other; training shuffles them.

    Args:
        sets: map-style datasets. Their names are for configs, in which each can be changed, or left out (``null``).

    Attributes:
        generated: whether one of them makes examples when asked for; see :meth:`PromptFormat.select`.

    Raises:
        ConfigError: without any dataset.

    Example:
        >>> len(Concatenation(sums=[{"prompt": "1 + 1"}], products=[{"prompt": "2 x 2"}]))
        2
    """

    def __init__(self, **sets: Dataset[Example] | None) -> None:
        given = [examples for examples in sets.values() if examples is not None]
        if not given:
            raise ConfigError(f"sets: there is none to read (given: {', '.join(sets) or 'nothing'}); name at least one")
        super().__init__(given)
        self.generated = any(getattr(examples, "generated", False) for examples in given)
