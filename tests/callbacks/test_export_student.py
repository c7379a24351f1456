"""The student after training, as anyone loads it."""

from __future__ import annotations

import lightning as L
import pytest
import torch
from torch.utils.data import DataLoader
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from dopd_lightning.callbacks import ExportStudent, save_student
from dopd_lightning.fusion import Data
from dopd_lightning.module import DOPDModule
from dopd_lightning.rollout import DatasetRollout

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
