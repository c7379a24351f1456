"""The student after training, as anyone loads it."""

from __future__ import annotations

import lightning as L
import pytest
import torch
from peft import LoraConfig, PeftModel
from torch.utils.data import DataLoader
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from dopd_lightning.callbacks import ExportStudent, export_student, save_student
from dopd_lightning.errors import ConfigError
from dopd_lightning.fusion import DOPD, Data
from dopd_lightning.policies import base_of, load_lora_policy
from dopd_lightning.rollout import DatasetRollout
from dopd_lightning.training.module import DOPDModule

pytestmark = pytest.mark.lowest
IDS = torch.tensor([[40, 41, 42]])


@pytest.fixture
def module(make_policy, tokenizer):
    student = make_policy(0)
    student.generation_config = GenerationConfig(do_sample=True, top_k=20, eos_token_id=[2, 0], pad_token_id=0)
    return DOPDModule(student, fusion=Data(), rollout=DatasetRollout(), tokenizer=tokenizer)


def assert_is_student(folder, module, tokenizer):
    loaded = AutoModelForCausalLM.from_pretrained(folder)
    module.student.eval()
    torch.testing.assert_close(loaded(input_ids=IDS).logits, module.student(input_ids=IDS).logits)
    assert list(folder.glob("*.safetensors"))
    assert not list(folder.glob("*.bin"))
    found = AutoTokenizer.from_pretrained(folder)
    assert found.get_vocab() == tokenizer.get_vocab()
    assert found.chat_template == tokenizer.chat_template
    return loaded


def test_a_saved_student_loads_with_its_tokenizer_template_and_generation_config(module, tokenizer, tmp_path):
    module.answer([{"prompt": "1 2"}])  # sets the generation config aside, and puts it back
    save_student(module, tmp_path / "new" / "folder")
    loaded = assert_is_student(tmp_path / "new" / "folder", module, tokenizer)
    assert loaded.generation_config.top_k == 20
    assert loaded.generation_config.eos_token_id == [2, 0]


def test_an_exported_student_stops_wherever_responses_stopped(make_policy, tokenizer, tmp_path):
    teacher = make_policy(1)
    teacher.generation_config = GenerationConfig(eos_token_id=[7, tokenizer.eos_token_id])
    with pytest.warns(UserWarning, match=r"\(id 7\), of the teacher"):
        module = DOPDModule(make_policy(0), teacher, tokenizer=tokenizer, fusion=DOPD(top_k=8))
    save_student(module, tmp_path)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert sorted(loaded.generation_config.eos_token_id) == module.eos_ids == [tokenizer.eos_token_id, 7]
    assert module.student.generation_config.eos_token_id == tokenizer.eos_token_id, "the module is left as it is"


def test_the_student_is_saved_as_it_is_when_training_ends(module, make_policy, tokenizer, tmp_path):
    trainer = L.Trainer(
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        max_steps=1,
        callbacks=[ExportStudent(tmp_path / "student")],
    )
    trainer.fit(module, DataLoader([{"prompt": "1 2", "completion": "3"}], batch_size=1))
    loaded = assert_is_student(tmp_path / "student", module, tokenizer)
    assert not torch.equal(loaded.lm_head.weight, make_policy(0).lm_head.weight), "it has learned"


@pytest.fixture
def with_adapters(models, tokenizer):
    """A module whose student's adapters have learned, in train mode."""
    student = load_lora_policy(models / "student", r=2, target_modules=["q_proj", "up_proj"])
    with torch.no_grad():
        for name, weight in student.named_parameters():
            if "lora_" in name:
                weight += 0.1
    return DOPDModule(student, fusion=Data(), rollout=DatasetRollout(), tokenizer=tokenizer)


def test_adapters_are_merged_into_a_whole_model_and_the_module_is_left_as_it_is(with_adapters, tokenizer, tmp_path):
    def state():
        student = with_adapters.student
        return (
            {name: weight.clone() for name, weight in student.state_dict().items()},
            [weight.requires_grad for weight in student.parameters()],
            [module.training for module in student.modules()],
        )

    before = state()
    save_student(with_adapters, tmp_path)
    torch.testing.assert_close(state(), before, rtol=0, atol=0)
    assert not list(tmp_path.glob("adapter*"))
    loaded = assert_is_student(tmp_path, with_adapters, tokenizer)
    assert not any("lora" in name or "base_layer" in name for name in loaded.state_dict())


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated")  # peft's own
def test_adapters_are_kept_for_their_base(with_adapters, models, tokenizer, tmp_path):
    save_student(with_adapters, tmp_path, adapters="keep")
    assert {path.name for path in tmp_path.glob("*.safetensors")} == {"adapter_model.safetensors"}
    base = AutoModelForCausalLM.from_pretrained(models / "student")
    loaded = PeftModel.from_pretrained(base, tmp_path).eval()
    with_adapters.student.eval()
    torch.testing.assert_close(loaded(input_ids=IDS).logits, with_adapters.student(input_ids=IDS).logits)
    assert AutoTokenizer.from_pretrained(tmp_path).get_vocab() == tokenizer.get_vocab()


@pytest.mark.parametrize("wrong", [lambda word: ExportStudent("x", word), lambda word: save_student(None, "x", word)])
def test_another_word_for_what_to_do_with_adapters(wrong):
    with pytest.raises(ConfigError, match="adapters: 'drop' is not one of keep, merge"):
        wrong("drop")


TARGETS = {
    "a layer": {"target_modules": ["q_proj"]},
    "embedding": {"target_modules": ["q_proj", "embed_tokens"]},
    "head": {"target_modules": ["q_proj", "lm_head"]},
    "both": {"target_modules": ["embed_tokens", "lm_head"]},
    "all but ranks scaled": {"target_modules": "all-linear", "use_rslora": True},
    "magnitudes": {"target_modules": ["q_proj", "lm_head"], "use_dora": True},
    "a whole head": {"target_modules": ["q_proj"], "modules_to_save": ["lm_head"]},
    "a whole embedding": {"target_modules": ["q_proj"], "modules_to_save": ["embed_tokens"]},
    "tokens": {"target_modules": ["q_proj"], "trainable_token_indices": [5, 40]},
}


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("fields", TARGETS.values(), ids=TARGETS)
@pytest.mark.filterwarnings("ignore:Model (with|has) `tie_word_embeddings=True`")
@pytest.mark.filterwarnings("ignore:Setting `save_embedding_layers` to `True`")
def test_the_exported_student_is_the_trained_one_whatever_its_adapters_are_on(
    make_policy, tokenizer, tmp_path, fields, tied
):
    make_policy(tie_word_embeddings=tied).save_pretrained(tmp_path / "base")
    student = AutoModelForCausalLM.from_pretrained(tmp_path / "base")
    student.add_adapter(LoraConfig(r=2, task_type="CAUSAL_LM", **fields))
    torch.manual_seed(0)
    with torch.no_grad():
        for weight in student.parameters():
            if weight.requires_grad:
                weight += 0.2 * torch.randn_like(weight)
    module = DOPDModule(student, fusion=Data(), rollout=DatasetRollout(), tokenizer=tokenizer)
    save_student(module, tmp_path / "merged")
    assert_is_student(tmp_path / "merged", module, tokenizer)
    if tied and {"embed_tokens", "lm_head"} <= {*fields["target_modules"]}:
        with pytest.raises(ConfigError, match=r"adapters: 'keep' cannot write these \(.*; export with adapters=merge"):
            save_student(module, tmp_path / "kept", adapters="keep")  # two on one weight, which peft saves with them
    else:
        save_student(module, tmp_path / "kept", adapters="keep")  # and compared
    base = make_policy(tie_word_embeddings=tied)
    torch.testing.assert_close(base_of(student)(input_ids=IDS).logits, base(input_ids=IDS).logits)


def test_an_export_that_is_another_model_is_refused_and_nothing_is_overwritten(
    with_adapters, tokenizer, tmp_path, monkeypatch
):
    folder = tmp_path / "student"
    save_student(with_adapters, folder)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    monkeypatch.setattr(export_student, "merged", lambda policy: base_of(policy))
    with pytest.raises(ConfigError, match=r"adapters: 'merge' .* differ by up to [\d.]+ nats .*adapters=keep"):
        save_student(with_adapters, folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["student"]


def test_adapters_that_were_trained_on_another_base_are_not_kept(with_adapters, tmp_path):
    with torch.no_grad():
        with_adapters.student.model.norm.weight += 1
    with pytest.raises(ConfigError, match=r"adapters: 'keep' .* differ by up to [\d.]+ nats .*adapters=merge"):
        save_student(with_adapters, tmp_path / "student", adapters="keep")
    assert not any(tmp_path.iterdir())


def test_a_generation_config_that_contradicts_itself_is_exported_all_the_same(module, tmp_path):
    module.student.generation_config = GenerationConfig()
    module.student.generation_config.temperature, module.student.generation_config.top_p = 0.9, 0.6  # not do_sample
    save_student(module, tmp_path)
    saved = AutoModelForCausalLM.from_pretrained(tmp_path).generation_config
    assert (saved.temperature, saved.top_p, saved.eos_token_id) == (0.9, 0.6, module.eos_ids)
    assert module.student.generation_config.temperature == 0.9
