"""The student itself as a source."""

from __future__ import annotations

from transformers import PreTrainedModel

from dopd_lightning.sources.source import OnePolicy


class Student(OnePolicy):
    """The student's current weights, under privileged information: the paper's reference ``Π_R`` (Sec. 3.2).

    It holds no weights of its own.

    Example:
        >>> Student().given
        []
    """

    def policy(self, student: PreTrainedModel) -> PreTrainedModel:
        return student
