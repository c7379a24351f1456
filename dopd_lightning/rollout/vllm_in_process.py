"""Responses from a vLLM inside this process: the same device, weights handed over without a file."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any

from lightning.pytorch.utilities.seed import isolate_rng
from transformers import PreTrainedModel

from dopd_lightning.distributed.processes import number_of_processes
from dopd_lightning.errors import ConfigError, check_choice, check_range, missing_extra
from dopd_lightning.rollout.agreement import check_agreement
from dopd_lightning.rollout.engine import Sampling, Written
from dopd_lightning.rollout.engine_weights import checkpoint_weights
from dopd_lightning.rollout.vllm_request import check_written, requests_of


@dataclass(kw_only=True)
class VLLMEngine:
    """A ``vllm.LLM`` in the training process, for runs with one process.

    It has a second copy of the student, and takes new weights from the first without a file (``reload_weights``).

    Args:
        max_model_len: the most tokens of a prompt and its response; ``None`` for as many as the student has positions.
            vLLM must find memory for one response of this length.
        dtype: ``bfloat16``, ``float16`` or ``float32``: of vLLM's copy.
        gpu_memory_utilization: the share of the device's memory that vLLM takes for its copy and its cache; the rest
            is left to training.
        options: further arguments of ``vllm.LLM``.

    Raises:
        ConfigError: for a value out of range, or if vLLM is not installed.
    """

    max_model_len: int | None = None
    dtype: str = "bfloat16"
    gpu_memory_utilization: float = 0.3
    options: Mapping[str, Any] = field(default_factory=dict)
    _llm: Any = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        check_choice("dtype", self.dtype, ("bfloat16", "float16", "float32"))
        check_range("gpu_memory_utilization", self.gpu_memory_utilization, above=0, at_most=1)
        if self.max_model_len is not None:
            check_range("max_model_len", self.max_model_len, at_least=2)
        if find_spec("vllm") is None:
            raise missing_extra("engine: this one needs vllm", "vllm", "or use engine=vllm_server")

    @property
    def positions(self) -> int | None:
        return self.max_model_len

    def synchronise(self, policy: PreTrainedModel) -> None:
        """See :class:`~dopd_lightning.rollout.Engine`."""
        if number_of_processes() > 1:
            raise ConfigError(
                f"engine: vllm is for one process, not for {number_of_processes()}; use engine=vllm_server"
            )
        weights = checkpoint_weights(policy, policy.device)
        if self._llm is None:
            self._llm = self._start(policy)
        self._llm.collective_rpc("reload_weights", kwargs={"weights_iterator": iter(weights.items())})
        self._llm.reset_prefix_cache()
        check_agreement(self, policy)

    def _start(self, policy: PreTrainedModel) -> Any:
        os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"  # or the weights would have to travel to another process
        with isolate_rng(), tempfile.TemporaryDirectory() as folder:  # vLLM seeds everything in the process
            from vllm import LLM

            config = deepcopy(policy.config)
            config.architectures = [type(policy).__name__]  # a model that was never saved does not have it
            config.save_pretrained(folder)
            return LLM(
                model=folder,
                load_format="dummy",  # the weights come from the student
                skip_tokenizer_init=True,
                generation_config="vllm",
                logprobs_mode="raw_logprobs",
                max_model_len=self.max_model_len,
                dtype=self.dtype,
                gpu_memory_utilization=self.gpu_memory_utilization,
                **self.options,
            )

    def generate(
        self,
        policy: PreTrainedModel,
        prompts: Sequence[Sequence[int]],
        sampling: Sampling,
        *,
        eos_ids: Sequence[int],
        pad_id: int,
        vocabulary_size: int,
        samples_per_prompt: int = 1,
        logps: bool = False,
    ) -> Written:
        """See :class:`~dopd_lightning.rollout.Engine`."""
        from vllm import SamplingParams

        requests = requests_of(
            policy,
            len(prompts),
            sampling,
            eos_ids=eos_ids,
            vocabulary_size=vocabulary_size,
            samples_per_prompt=samples_per_prompt,
            logps=logps,
        )
        outputs = self._llm.generate(
            [{"prompt_token_ids": list(prompt)} for prompt in prompts],
            [SamplingParams.from_optional(**request, detokenize=False) for request in requests],
            use_tqdm=False,
        )
        responses = [response for output in outputs for response in sorted(output.outputs, key=lambda each: each.index)]
        ids = [list(response.token_ids) for response in responses]
        written = Written(ids, [_logps(response) for response in responses] if logps else None)
        check_written(written, sampling, eos_ids=eos_ids, vocabulary_size=vocabulary_size)
        return written


def _logps(response: Any) -> list[float]:
    return [step[token].logprob for token, step in zip(response.token_ids, response.logprobs, strict=True)]
