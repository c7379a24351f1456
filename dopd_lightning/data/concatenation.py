"""Concatenation of datasets."""

from __future__ import annotations

from torch.utils.data import ConcatDataset, Dataset

from dopd_lightning.data.example import Example
from dopd_lightning.errors import ConfigError


class Concatenation(ConcatDataset[Example]):
    """Concatenation of several datasets, in the given order; training shuffles their examples.

    Args:
        sets: map-style datasets. By its name, a config can change a dataset or leave it out (``null``).

    Attributes:
        generated: whether one of them generates its examples on access; see :meth:`PromptFormat.select`.

    Raises:
        ConfigError: if there is no dataset.

    Example:
        >>> len(Concatenation(sums=[{"prompt": "1 + 1"}], products=[{"prompt": "2 x 2"}]))
        2
    """

    def __init__(self, **sets: Dataset[Example] | None) -> None:
        given = [examples for examples in sets.values() if examples is not None]
        if not given:
            raise ConfigError(f"sets: no dataset to read (given: {', '.join(sets) or 'nothing'}); name at least one")
        super().__init__(given)
        self.generated = any(getattr(examples, "generated", False) for examples in given)
