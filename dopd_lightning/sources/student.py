"""Student itself, as a source."""

from __future__ import annotations

from transformers import PreTrainedModel

from dopd_lightning.sources.source import OnePolicy


class Student(OnePolicy):
    """The student with its current weights, as a source: the paper's reference ``Π_R`` (Sec. 3.2).

    It reads its own prompt, usually with privileged text, and has no weights of its own.

    Args:
        shown: probability, for each example, that the source sees privileged text.

    Example:
        >>> from torch import nn
        >>> student, source = nn.Linear(2, 1, bias=False), Student()  # a layer in place of a language model
        >>> source.attach(student)
        >>> _ = student.weight.data.fill_(5.0)
        >>> source.policy(student).weight.tolist(), len(source.state_dict())
        ([[5.0, 5.0]], 0)
    """

    def policy(self, student: PreTrainedModel) -> PreTrainedModel:
        return student
