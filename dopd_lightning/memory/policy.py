"""Memory of one policy, its weights and its forward pass, computed with fake tensors."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from transformers import AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel
from transformers.initialization import no_init_weights

from dopd_lightning.errors import ConfigError
from dopd_lightning.inputs.views import View
from dopd_lightning.memory.kept import bytes_of, watching
from dopd_lightning.scores.forward import response_states


def number_of_parameters(config: PreTrainedConfig) -> int:
    """Return the number of parameters of a causal language model with this config; tied weights count once.

    Example:
        >>> from transformers import Qwen3Config
        >>> only_embeddings = Qwen3Config(vocab_size=100, hidden_size=8, num_hidden_layers=0, tie_word_embeddings=True)
        >>> number_of_parameters(only_embeddings)  # 100 * 8, and 8 of the last normalisation
        808
    """
    with FakeTensorMode():
        return sum(weight.numel() for weight in causal_lm(config, torch.float32).parameters())


@dataclass(frozen=True)
class Batch:
    """Input of policies: number of rows, tokens of prompt and response, and True for autocast (``mixed``)."""

    rows: int
    prompt: int
    response: int
    mixed: bool

    @property
    def response_tokens(self) -> int:
        return self.rows * self.response

    def view(self) -> View:
        ids = torch.zeros(self.rows, self.prompt + self.response, dtype=torch.long)
        inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "position_ids": ids}
        return View(inputs, self.response)

    def autocast(self) -> torch.autocast:
        """Return autocast as Lightning uses it, without a cache: a weight is cast at each use."""
        return torch.autocast("cpu", torch.bfloat16, enabled=self.mixed, cache_enabled=False)


@dataclass(frozen=True, kw_only=True)
class Policy:
    """Sizes of a policy's weights and forward pass, in bytes unless stated.

    Attributes:
        weights: all weights.
        layer: weights of the largest decoder layer.
        root: weights outside the decoder layers.
        head: number of weights in the output head.
        width: width of the hidden states, in numbers.
        kept: tensors that autograd keeps for the backward pass.
        kept_of_inputs: the same, with only the inputs of decoder layers.
        kept_of_layer: the same, of the one decoder layer that keeps most.
        cache: keys and values.
        states: hidden states of the whole sequence, plus those of the response as input of the head.
    """

    weights: int
    layer: int
    root: int
    head: int
    width: int
    kept: int
    kept_of_inputs: int
    kept_of_layer: int
    cache: int
    states: int

    @classmethod
    def of(cls, config: PreTrainedConfig, dtype: torch.dtype, batch: Batch) -> Policy:
        with FakeTensorMode():
            model = causal_lm(config, dtype)
            layers = _layers_of(model)
            with watching(model, layers) as kept, batch.autocast():
                states = response_states(model, batch.view())
            with torch.no_grad(), batch.autocast():
                cache = _cache_of(model, batch.view())
        weights, of_layers = bytes_of(model.parameters()), [bytes_of(layer.parameters()) for layer in layers]
        width, size = states.shape[-1], 2 if batch.mixed else states.itemsize
        return cls(
            weights=weights,
            layer=max(of_layers),
            root=weights - sum(of_layers),
            head=model.get_output_embeddings().weight.numel(),  # type: ignore[no-untyped-call]
            width=width,
            kept=kept.outside + sum(kept.of_layers),
            kept_of_inputs=kept.outside + kept.inputs,
            kept_of_layer=max(kept.of_layers),
            cache=cache,
            states=states.untyped_storage().nbytes() + batch.response_tokens * width * size,
        )


def causal_lm(config: PreTrainedConfig, dtype: torch.dtype) -> PreTrainedModel:
    """Build an untrained model in train mode, in which autograd keeps dropout masks, too."""
    with no_init_weights():
        model = AutoModelForCausalLM.from_config(copy.deepcopy(config), dtype=dtype)  # type: ignore[no-untyped-call]
    model.tie_weights()
    return cast(PreTrainedModel, model.train())


def _layers_of(model: PreTrainedModel) -> list[nn.Module]:
    names = set(getattr(model, "_no_split_modules", None) or ())
    layers = [module for module in model.modules() if type(module).__name__ in names]
    if not layers:
        raise ConfigError(
            f"{type(model).__name__} has no _no_split_modules that name its decoder layers: "
            "its memory cannot be computed"
        )
    return layers


def _cache_of(model: PreTrainedModel, view: View) -> int:
    """Return the bytes of the cache of all layers after the whole sequence, plus those of the largest layer again."""
    output = model(**view.inputs, use_cache=True, logits_to_keep=1)
    layers = getattr(output.past_key_values, "layers", [])
    sizes = [bytes_of(part for part in vars(layer).values() if isinstance(part, Tensor)) for layer in layers]
    return sum(sizes) + max(sizes, default=0)
