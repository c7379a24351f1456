"""Loading of policies and tokenizers from a Hugging Face repository or folder, and new policies."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from transformers import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    BitsAndBytesConfig,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from dopd_lightning.errors import ConfigError, check_choice, missing_extra
from dopd_lightning.policies.weight_files import check_loaded, check_weight_files, without_loading_report

_DTYPES = {"auto", "float32", "bfloat16", "float16"}


def load_policy(
    name: str | os.PathLike[str],
    *,
    dtype: str = "float32",
    attn_implementation: str | None = None,
    trust_remote_code: bool = False,
    revision: str | None = None,
    quantization: str | None = None,
) -> PreTrainedModel:
    """Load a causal language model from a Hugging Face repository or a folder. Weights must be safetensors.

    Args:
        name: repository name (``Qwen/Qwen3-1.7B``) or folder.
        dtype: ``float32``, ``bfloat16``, ``float16``, or ``auto`` for the dtype of the saved weights.
        attn_implementation: attention implementation of transformers; ``None`` lets transformers choose.
        trust_remote_code: whether to run modelling code from the repository. It is code by strangers.
        revision: branch, tag or commit of the repository.
        quantization: ``int8`` or ``int4`` (NF4) quantizes the weights of all linear layers except the head with
            bitsandbytes. Such a policy needs less memory, and cannot be trained. ``None`` for no quantization.

    Raises:
        ConfigError: for an unknown dtype or quantization, or if bitsandbytes is not installed, there is no such model,
            it is not a causal language model, or its files lack some of its weights.

    Example:
        >>> from importlib.resources import files
        >>> load_policy(files("dopd_lightning.assets") / "quickstart_student").num_parameters()
        360000
    """
    check_loading(dtype, quantization, attn_implementation)
    quantized = None if quantization is None else _quantization_config(quantization, dtype)
    load_config(name, trust_remote_code=trust_remote_code, revision=revision)
    try:
        with without_loading_report():
            loaded: Any = AutoModelForCausalLM.from_pretrained(
                os.fspath(name),
                dtype=dtype,
                attn_implementation=attn_implementation,
                trust_remote_code=trust_remote_code,
                revision=revision or "main",
                use_safetensors=True,
                quantization_config=quantized,
                ignore_mismatched_sizes=True,  # check_loaded raises an error that names them
                output_loading_info=True,
            )
    except (OSError, ValueError, ImportError, RuntimeError, SafetensorError) as error:
        raise ConfigError(f"model {os.fspath(name)!r} cannot be loaded: {_in_a_line(error)}") from error
    policy: PreTrainedModel
    policy, info = loaded
    check_loaded(policy, os.fspath(name), revision or "main", info)
    return policy


def check_loading(dtype: str, quantization: str | None = None, attn_implementation: str | None = None) -> None:
    """Raise ConfigError for settings with which no model can be loaded; see :func:`load_policy`.

    Raises:
        ConfigError: listing the choices.

    Example:
        >>> check_loading("float32", quantization="int4", attn_implementation="sdpa")
        >>> check_loading("float3")
        Traceback (most recent call last):
            ...
        dopd_lightning.errors.ConfigError: dtype: 'float3' is not one of auto, bfloat16, float16, float32
    """
    check_choice("dtype", dtype, _DTYPES)
    if quantization is not None:
        check_choice("quantization", quantization, ("int8", "int4"))
    if attn_implementation is not None and "/" not in attn_implementation:  # "/": repository of a kernel
        check_choice("attn_implementation", attn_implementation, ("eager", *ALL_ATTENTION_FUNCTIONS.valid_keys()))


def _quantization_config(quantization: str, dtype: str) -> BitsAndBytesConfig:
    if any(find_spec(package) is None for package in ("bitsandbytes", "accelerate")):
        raise missing_extra(f"quantization: {quantization!r} needs bitsandbytes and accelerate", "quantized")
    # It warns in each layer, at each forward pass, that int8 products are computed from float16.
    logging.getLogger("bitsandbytes.autograd._functions").setLevel(logging.ERROR)
    if quantization == "int8":
        return BitsAndBytesConfig(load_in_8bit=True)  # type: ignore[no-untyped-call]
    products = "bfloat16" if dtype == "auto" else dtype
    return BitsAndBytesConfig(  # type: ignore[no-untyped-call]
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=products
    )


def load_config(
    name: str | os.PathLike[str], *, trust_remote_code: bool = False, revision: str | None = None
) -> PreTrainedConfig:
    """Load the config of a causal language model, without its weights; see :func:`load_policy` for the arguments.

    Raises:
        ConfigError: if there is no such model, it is of another kind, or weight files are missing or truncated.

    Example:
        >>> from importlib.resources import files
        >>> load_config(files("dopd_lightning.assets") / "quickstart_student").num_hidden_layers
        3
    """
    _check_folder(name, "model")
    adapters = Path(name) / "adapter_config.json"
    if adapters.is_file() and not (Path(name) / "config.json").is_file():  # the model is the base of these adapters
        base = json.loads(adapters.read_text(encoding="utf-8"))["base_model_name_or_path"]
        return load_config(base, trust_remote_code=trust_remote_code)
    try:
        config: PreTrainedConfig = AutoConfig.from_pretrained(
            os.fspath(name), trust_remote_code=trust_remote_code, revision=revision or "main"
        )
    except (OSError, ValueError, TypeError, KeyError, StrictDataclassError) as error:
        raise ConfigError(f"model {os.fspath(name)!r} cannot be loaded: {_in_a_line(error)}") from error
    own_code = "AutoModelForCausalLM" in (getattr(config, "auto_map", None) or ())
    if config.is_encoder_decoder or not (own_code or type(config) in MODEL_FOR_CAUSAL_LM_MAPPING):
        kind = "an encoder-decoder" if config.is_encoder_decoder else "not a causal language model of transformers"
        raise ConfigError(
            f"model {os.fspath(name)!r}: its architecture, {config.model_type}, is {kind}; choose a causal language "
            "model (decoder-only)"
        )
    if Path(name).is_dir():
        check_weight_files(Path(name))
    return config


def load_tokenizer(
    name: str | os.PathLike[str], *, trust_remote_code: bool = False, revision: str | None = None
) -> PreTrainedTokenizerBase:
    """Load the tokenizer of a repository or folder; see :func:`load_policy` for the arguments.

    Raises:
        ConfigError: if there is no tokenizer, or it has no end-of-sequence token (a student could not learn to stop).

    Example:
        >>> from importlib.resources import files
        >>> len(load_tokenizer(files("dopd_lightning.assets") / "quickstart_student"))
        381
    """
    _check_folder(name, "tokenizer")
    try:
        tokenizer = AutoTokenizer.from_pretrained(
            os.fspath(name), trust_remote_code=trust_remote_code, revision=revision or "main"
        )
    except (OSError, ValueError, TypeError, KeyError, StrictDataclassError) as error:
        raise ConfigError(f"tokenizer {os.fspath(name)!r} cannot be loaded: {_in_a_line(error)}") from error
    if not tokenizer.encode("a", add_special_tokens=False):  # transformers builds it from a config.json alone
        raise ConfigError(f"tokenizer {os.fspath(name)!r} has no vocabulary; is there a tokenizer.json?")
    if tokenizer.eos_token_id is None:
        raise ConfigError(f"tokenizer {os.fspath(name)!r} has no eos_token; set one in its tokenizer_config.json")
    return tokenizer


def tokenizer_of(
    policy: PreTrainedModel, tokenizer: PreTrainedTokenizerBase | str | os.PathLike[str] | None
) -> PreTrainedTokenizerBase:
    """Return the given tokenizer, loaded if it is a name; for ``None``, load the one of the policy's repository.

    Raises:
        ConfigError: if there is no such tokenizer.

    Example:
        >>> from importlib.resources import files
        >>> student = load_policy(files("dopd_lightning.assets") / "quickstart_student")
        >>> len(tokenizer_of(student, None))
        381
    """
    if isinstance(tokenizer, PreTrainedTokenizerBase):
        return tokenizer
    name = tokenizer or policy.name_or_path
    if not name:
        raise ConfigError("tokenizer: a model built in memory has no tokenizer; pass tokenizer=…")
    return load_tokenizer(name)


def new_policy(
    architecture: Mapping[str, Any], tokenizer: PreTrainedTokenizerBase, *, seed: int = 0
) -> PreTrainedModel:
    """Build a policy with random weights, for training from scratch.

    Args:
        architecture: ``model_type`` and fields of the transformers config; vocabulary size and special tokens are those
            of the tokenizer unless given here.
        tokenizer: tokenizer of the policy.
        seed: seed of the initial weights; the global random state does not change.

    Raises:
        ConfigError: if transformers has no such ``model_type`` or refuses a field.

    Example:
        >>> from dopd_lightning.policies import new_tokenizer
        >>> shape = {"model_type": "gpt2", "n_layer": 1, "n_embd": 16, "n_head": 2, "n_positions": 64}
        >>> new_policy(shape, new_tokenizer(["1 + 1 = 2"])).config.n_embd
        16
    """
    fields = {
        "vocab_size": len(tokenizer),
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
        **architecture,
    }
    model_type = fields.pop("model_type", None)
    try:
        config = AutoConfig.for_model(model_type, **fields)
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            policy: PreTrainedModel = AutoModelForCausalLM.from_config(config)  # type: ignore[no-untyped-call]
            return policy
    except (TypeError, ValueError, RuntimeError, StrictDataclassError) as error:
        raise ConfigError(f"architecture (model_type {model_type!r}) cannot be built: {_in_a_line(error)}") from error


def _in_a_line(error: Exception) -> str:
    return " ".join(str(error).split())


def _check_folder(name: str | os.PathLike[str], what: str) -> None:
    """Raise ConfigError for a path that does not exist; transformers would search the Hub for it."""
    text = os.fspath(name)
    looks_like_path = isinstance(name, os.PathLike) or text.startswith((".", "/", "~")) or text.count("/") > 1
    if looks_like_path and not Path(text).is_dir():
        raise ConfigError(f"{what} {text!r}: there is no such folder")
