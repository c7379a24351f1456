"""Responses of a map, collected from a step's token record."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from dopd_lightning.data import prompt_text
from dopd_lightning.maps.quantities import STUDENT
from dopd_lightning.maps.snapshot import Alternatives, MappedResponse
from dopd_lightning.record import TokenDetails, TokenRecord


def responses_of(record: TokenRecord, *, fixed: bool) -> list[MappedResponse]:
    """The rollouts of a record that details are known of, in the order of these.

    Args:
        record: of a training step, or of prompts observed.
        fixed: whether these prompts come back at every step.

    Raises:
        ValueError: if nobody asked for details.
    """
    details = record.details
    if details is None:
        raise ValueError("responses_of: the record has no details; ask for them with DOPDModule.detail_next")
    return [_response(record, details, place, row, fixed) for place, row in enumerate(details.rollouts)]


def _response(record: TokenRecord, details: TokenDetails, place: int, row: int, fixed: bool) -> MappedResponse:
    kept = record.mask[row]

    def of(values: Tensor) -> NDArray[np.float32]:
        return values[kept].float().cpu().numpy()

    quantities = {
        **({} if record.gap is None else {"gap": record.gap[row]}),
        **{f"{policy}_probability": logp[row].exp() for policy, logp in record.logp.items()},
        **{f"{source}_divergence": values[place] for source, values in details.divergence.items()},
        "loss": record.loss[row],
        **{f"{policy}_entropy": values[row] for policy, values in record.entropy.items()},
    }
    regimes = np.full(int(kept.sum()), -1, np.int8)
    if record.regimes is not None:
        regimes = record.regimes[row][kept].cpu().numpy().astype(np.int8)
    example = record.examples[row]
    return MappedResponse(
        prompt=prompt_text(example["prompt"]),
        privileged=example.get("privileged"),
        fixed=fixed,
        number=place,
        token_ids=record.response_ids[row][kept].cpu().numpy().astype(np.int32),
        regimes=regimes,
        quantities={name: of(values) for name, values in quantities.items()},
        alternatives={
            policy: Alternatives(found.ids[place][kept].cpu().numpy().astype(np.int32), of(found.probabilities[place]))
            for policy, found in details.likeliest.items()
        },
    )


def sources_of(responses: Sequence[MappedResponse]) -> list[str]:
    """The sources that took part in any of them, in their order.

    Example:
        >>> likeliest = {name: Alternatives(np.array([[5]]), np.array([[0.9]])) for name in ("student", "teacher")}
        >>> sources_of([MappedResponse("1 + 1 = ?", None, True, 0, np.array([5]), np.array([-1]), {}, likeliest)])
        ['teacher']
    """
    found = dict.fromkeys(policy for response in responses for policy in response.alternatives)
    return [policy for policy in found if policy != STUDENT]


def ids_of(responses: Sequence[MappedResponse]) -> list[int]:
    """Every token id in them, alternatives included, in ascending order.

    Example:
        >>> response = MappedResponse("1 + 1 = ?", None, True, 0, np.array([5, 3]), np.array([-1, -1]), {}, {})
        >>> ids_of([response])
        [3, 5]
    """
    found = [response.token_ids for response in responses]
    found += [each.ids.ravel() for response in responses for each in response.alternatives.values()]
    return [int(token) for token in np.unique(np.concatenate(found))] if found else []
