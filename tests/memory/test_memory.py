"""Memory computed from configs equals that of real models of these configs, on a CPU."""

from __future__ import annotations

import copy
import dataclasses

import pytest
import torch
from torch.utils._pytree import tree_leaves
from transformers import AutoConfig

from benchmarks.memory import QWEN3
from dopd_lightning.errors import ConfigError
from dopd_lightning.inputs.views import View
from dopd_lightning.memory import memory_per_gpu, number_of_parameters
from dopd_lightning.scores.forward import response_states
from dopd_lightning.training.optimizer import adamw

ROWS, PROMPT, RESPONSE = 3, 20, 12
SETTING = {"prompt_tokens": PROMPT, "response_tokens": RESPONSE, "rollouts": ROWS, "top_k": 8}
DTYPES = {"32-true": torch.float32, "bf16-mixed": torch.float32, "bf16-true": torch.bfloat16}


def autocast(precision):
    return torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16-mixed", cache_enabled=False)


def inputs_of(policy):
    ids = torch.randint(policy.config.vocab_size, (ROWS, PROMPT + RESPONSE))
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


def bytes_of(tensors):
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


@pytest.fixture
def policy_of(make_policy):
    def make(precision="32-true", **fields):
        return make_policy(**fields).train().to(DTYPES[precision])

    return make


# --------------------------------------------------------------------------------------------------------- weights


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize(
    "fields",
    [{}, {"model_type": "llama"}, {"model_type": "gemma3_text", "num_hidden_layers": 4, "sliding_window": 8}],
    ids=lambda fields: fields.get("model_type", "qwen3"),
)
def test_parameters_are_those_of_the_model_tied_ones_once(policy_of, fields, tied):
    policy = policy_of(tie_word_embeddings=tied, **fields)
    assert number_of_parameters(policy.config) == sum(weight.numel() for weight in policy.parameters())


@pytest.mark.parametrize(
    ("name", "billions", "without_embedding"),
    [("0.6B", 0.6, "0.44"), ("1.7B", 1.7, "1.4"), ("4B", 4.0, "3.6"), ("8B", 8.2, "6.95")],
)
def test_qwen3_has_as_many_as_published(name, billions, without_embedding):
    config = QWEN3[name]
    found = number_of_parameters(config)
    embeddings = config.vocab_size * config.hidden_size * (1 if config.tie_word_embeddings else 2)
    assert round(found / 1e9, 1) == billions
    digits = len(without_embedding.partition(".")[2])
    assert f"{(found - embeddings) / 1e9:.{digits}f}" == without_embedding


@pytest.mark.parametrize("precision", ["32-true", "bf16-true"])
def test_weights_gradients_and_adamw_are_those_after_a_real_step(policy_of, precision):
    policy = policy_of(precision)
    optimizer = adamw(policy.parameters())
    policy(**inputs_of(policy)).logits.float().square().mean().backward()
    optimizer.step()
    found = memory_per_gpu(policy.config, precision=precision, **SETTING)
    states = (state for of_weight in optimizer.state.values() for state in of_weight.values())
    assert found.student == bytes_of(policy.parameters())
    assert found.gradients == bytes_of(weight.grad for weight in policy.parameters())
    assert found.optimizer == bytes_of(state for state in states if state.ndim > 0)  # the count of steps aside


# ---------------------------------------------------------------------------------------------------- forward pass


class Saved:
    """Bytes that autograd saves and that are no weight, counted by address."""

    def __init__(self, policy):
        self.weights = {weight.untyped_storage().data_ptr() for weight in policy.parameters()}
        self.tensors = {}

    def pack(self, tensor):
        address = tensor.untyped_storage().data_ptr()
        if address not in self.weights:
            self.tensors[address] = tensor  # held, so that nothing else comes to lie there
        return tensor

    @property
    def total(self):
        return sum(tensor.untyped_storage().nbytes() for tensor in self.tensors.values())


def padded_view():
    """View with prompts of unequal length, so that there is a mask."""
    ids = torch.randint(9, (ROWS, PROMPT + RESPONSE))
    mask = torch.ones_like(ids)
    mask[1, :2] = 0
    positions = (mask.cumsum(dim=1) - 1).clamp(min=0)
    return View({"input_ids": ids, "attention_mask": mask, "position_ids": positions}, RESPONSE)


def saved_by(policy, precision, also=()):
    """Bytes, those of the storages ``also`` included; it may be filled by the forward pass."""
    saved = Saved(policy)
    with torch.autograd.graph.saved_tensors_hooks(saved.pack, lambda tensor: tensor), autocast(precision):
        states = response_states(policy, padded_view())  # what they belong to has to live on
    for tensor in also:
        saved.pack(tensor)
    del states
    return saved.total


@pytest.mark.parametrize("precision", DTYPES)
@pytest.mark.parametrize("model_type", ["qwen3", "llama", "gemma2"])
def test_kept_is_what_autograd_saves_of_a_real_forward_pass(policy_of, precision, model_type):
    policy = policy_of(precision, model_type=model_type)
    assert memory_per_gpu(policy.config, precision=precision, **SETTING).kept == saved_by(policy, precision)


@pytest.mark.parametrize("precision", DTYPES)
def test_with_checkpointing_layers_keep_what_they_are_given(policy_of, precision):
    policy = policy_of(precision, num_hidden_layers=5)
    policy.activation_checkpointing_enable()
    given = []

    def note(_, args, options):
        given.extend(each for each in tree_leaves((args, options)) if isinstance(each, torch.Tensor))

    for layer in policy.model.layers:
        layer.register_forward_pre_hook(note, with_kwargs=True)
    setting = SETTING | {"precision": precision}
    plain, found = (memory_per_gpu(policy.config, activation_checkpointing=each, **setting) for each in (False, True))
    assert found.kept == saved_by(policy, precision, given)
    assert found.kept < plain.kept / 2
    assert dataclasses.replace(found, kept=plain.kept) == plain


def test_kept_of_qwen3_layers_by_hand():
    """Numbers a token and layer, in float32, without the weights that no token adds to."""
    config = AutoConfig.for_model(
        "qwen3",
        **{"hidden_size": 48, "intermediate_size": 80, "num_attention_heads": 6, "num_key_value_heads": 2},
        **{"head_dim": 16, "vocab_size": 50, "tie_word_embeddings": True},
    )
    kept = []
    for config.num_hidden_layers in (2, 3):
        config.layer_types = ["full_attention"] * config.num_hidden_layers
        kept.append(memory_per_gpu(config, precision="32-true", **SETTING).kept)
    width, queries, keys, inner = 48, 6 * 16, 2 * 16, 80
    norms = 6 * width + 2  # two: what comes in, what is scaled, what goes out to products; the roots
    heads = 2 * (queries + keys) + 6 + 2  # norms of queries and keys: the same, but what goes out is turned
    attention = 3 * queries + 6 + (PROMPT + RESPONSE)  # turned queries, keys and values for each query; sums; mask
    attention += queries  # what comes out, in the layout that the product wants
    inside = 4 * inner  # gate, its activation, up, their product
    numbers = norms + heads + attention + inside
    assert kept[1] - kept[0] == pytest.approx(4 * numbers * ROWS * (PROMPT + RESPONSE), rel=0.03)


@pytest.mark.parametrize("precision", DTYPES)
def test_the_cache_is_that_of_a_real_generation(policy_of, precision):
    policy = policy_of(precision, num_hidden_layers=3).eval()
    prompts = {name: ids[:, :PROMPT] for name, ids in inputs_of(policy).items()}
    with autocast(precision):  # the last token is sampled, and never read
        output = policy.generate(
            **prompts,
            **{"min_new_tokens": RESPONSE + 1, "max_new_tokens": RESPONSE + 1, "do_sample": False, "pad_token_id": 0},
            return_dict_in_generate=True,
        )
    layers = output.past_key_values.layers
    of_layers = [bytes_of((layer.keys, layer.values)) for layer in layers]
    found = memory_per_gpu(policy.config, precision=precision, **SETTING)
    assert found.cache == sum(of_layers) + max(of_layers)


# ------------------------------------------------------------------------------------------- strategies and sources


def test_ddp_holds_all_on_each_and_sends_copies_of_gradients(policy_of):
    config = policy_of().config
    alone, two = (memory_per_gpu(config, config, processes=count, **SETTING) for count in (1, 2))
    assert alone.buckets == 0
    assert dataclasses.replace(two, buckets=0) == alone
    assert two.buckets == two.gradients


def test_fsdp_holds_shares_and_gathers_the_rest(policy_of):
    policy, teacher = policy_of(tie_word_embeddings=False), policy_of(hidden_size=48, tie_word_embeddings=False)
    whole = memory_per_gpu(policy.config, teacher.config, **SETTING)
    found = memory_per_gpu(policy.config, teacher.config, processes=4, strategy="fsdp", **SETTING)
    assert found.sources == {"teacher": -(-whole.sources["teacher"] // 4)}
    for part in ("student", "gradients", "optimizer", "update"):
        assert getattr(found, part) == pytest.approx(getattr(whole, part) / 4, abs=1), part
    assert found.gathered_to_write == bytes_of(policy.parameters())
    roots = bytes_of(w for name, w in policy.named_parameters() if ".layers." not in name)
    roots += bytes_of(w for name, w in teacher.named_parameters() if ".layers." not in name) // 2  # bfloat16
    layer = max(bytes_of(policy.model.layers[0].parameters()), bytes_of(teacher.model.layers[0].parameters()) // 2)
    assert found.gathered_to_score == roots + 2 * layer
    assert [found.buckets, whole.gathered_to_write, whole.gathered_to_score] == [0, 0, 0]


@pytest.mark.parametrize("kind", ["snapshot", "ema"])
def test_a_reference_of_its_own_is_one_more_student(policy_of, kind):
    config = policy_of().config
    shared, found = (memory_per_gpu(config, reference=each, **SETTING) for each in ("student", kind))
    assert shared.sources == {}
    assert found.sources == {"reference": found.student}
    assert dataclasses.replace(found, sources={}) == shared


def test_each_further_source_adds_its_weights_states_and_table(policy_of):
    config, other = policy_of().config, policy_of(hidden_size=48).config
    two = memory_per_gpu(config, other, reference=other, **SETTING)
    four = memory_per_gpu(config, other, reference=other, sources={"maths": other, "code": other}, **SETTING)
    assert list(four.sources) == ["teacher", "reference", "maths", "code"]
    assert len({*four.sources.values()}) == 1
    assert four.always - two.always == 2 * two.sources["teacher"]
    three = memory_per_gpu(config, other, reference=other, sources={"maths": other}, **SETTING)
    assert four.states - three.states == three.states - two.states > 0


def test_a_reference_model_and_a_teacher_have_the_dtype_that_is_given(policy_of):
    config, other = policy_of().config, policy_of(hidden_size=48)
    numbers = sum(weight.numel() for weight in other.parameters())
    for dtype, size in ((torch.float32, 4), (torch.bfloat16, 2)):
        found = memory_per_gpu(config, other.config, reference=other.config, teacher_dtype=dtype, **SETTING)
        assert found.sources == dict.fromkeys(("teacher", "reference"), size * numbers)
    found = memory_per_gpu(
        config, other.config, precision="bf16-true", teacher_dtype=torch.float32, **SETTING
    )  # Lightning turns all of the module's weights into bfloat16
    assert found.sources["teacher"] == 2 * numbers


def test_states_tables_loss_and_head_by_hand(policy_of):
    policy, teacher = policy_of(), policy_of(hidden_size=48)
    found = memory_per_gpu(policy.config, teacher.config, precision="32-true", teacher_dtype=torch.float32, **SETTING)
    tokens = ROWS * RESPONSE
    everywhere = 4 * ROWS * (PROMPT + RESPONSE) * (32 + 48 + 32)  # student, teacher, and the student as reference
    of_response = 4 * tokens * (32 + 48 + 32)
    gradient, tables = 4 * tokens * 32, 2 * (4 + 4) * 8 * tokens
    assert found.states == everywhere + of_response + gradient + tables
    assert found.loss == 64 * 2**20
    assert found.head_gradient == 4 * policy.config.vocab_size * 32


def test_the_peak_is_the_largest_of_rollout_step_and_update(policy_of):
    config = policy_of().config
    few = memory_per_gpu(config, **SETTING)
    assert few.peak == few.step == few.always + few.kept + few.in_flight + few.states + few.loss + few.head_gradient
    writing = dataclasses.replace(few, cache=2**40)
    assert writing.peak == writing.rollout == few.always + 2**40
    updating = dataclasses.replace(few, update=2**41)
    assert updating.peak == few.always + 2**41
    assert few.always == 4 * few.student


def test_configs_stay_as_they_were(policy_of):
    config = policy_of().config
    before = copy.deepcopy(config.to_dict())
    memory_per_gpu(config, config, precision="bf16-true", **SETTING)
    assert config.to_dict() == before


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"strategy": "fsdp1"}, "strategy: 'fsdp1' is not one of ddp, fsdp"),
        ({"precision": "32"}, "precision: '32' is not one of"),
        ({"reference": "teacher"}, "reference: 'teacher' is not one of"),
        ({"processes": 0}, "processes: 0 must be at least 1"),
        ({"rollouts": 0}, "rollouts: 0 must be at least 1"),
    ],
)
def test_what_cannot_be(policy_of, wrong, said):
    with pytest.raises(ConfigError, match=said):
        memory_per_gpu(policy_of().config, **SETTING | wrong)
