"""Parts that do not fit together are refused before the first step."""

from __future__ import annotations

import copy
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import peft
import pytest
from lightning.pytorch.strategies import ModelParallelStrategy

from dopd_lightning.distributed.sharding import FullyShardedStrategy
from dopd_lightning.divergence import Divergence, Term
from dopd_lightning.errors import ConfigError
from dopd_lightning.fusion import DOPD, Data, Reference, Supervision, Teacher
from dopd_lightning.policies import load_policy, new_tokenizer
from dopd_lightning.rollout import DatasetRollout, MixedRollout, StudentRollout, TeacherRollout
from dopd_lightning.sources import Policy
from dopd_lightning.training.consistency import check_trainer
from dopd_lightning.training.module import DOPDModule
from dopd_lightning.training.privileged import PrivilegedAccess


@pytest.fixture
def make(make_policy, tokenizer):
    def make(student=None, teacher=None, reference="student", **parts):
        student = make_policy(0) if student is None else student
        return DOPDModule(student, teacher, reference, **{"tokenizer": tokenizer} | parts)

    return make


@pytest.mark.parametrize(
    ("parts", "who"),
    [
        ({}, "fusion rule"),
        ({"fusion": Teacher()}, "fusion rule"),
        ({"fusion": Reference(), "rollout": TeacherRollout()}, "rollout"),
        ({"fusion": Data(), "rollout": MixedRollout(off_policy="teacher")}, "rollout"),
    ],
)
def test_a_missing_teacher_is_noticed_before_the_student_loads(parts, who):
    with pytest.raises(ConfigError, match=f"teacher: is not set, and the {who} needs it"):
        DOPDModule("./no/such/student", **parts)


def test_a_teacher_that_nobody_needs_may_be_missing(make):
    make(fusion=Reference())
    make(fusion=Data(), rollout=DatasetRollout())


def test_another_tokenizer_is_refused(make, make_policy):
    other = new_tokenizer(["wholly other words, worthwhile whales"], vocabulary_size=280)
    with pytest.raises(ConfigError, match=r"student and teacher have different tokenizers: token '.+' is id"):
        make(teacher=make_policy(1), teacher_tokenizer=other)


def save(policy, tokenizer, folder):
    policy.save_pretrained(folder)
    if tokenizer is not None:
        tokenizer.save_pretrained(folder)
    return str(folder)


def test_names_are_loaded_with_the_tokenizers_found_there(make_policy, tokenizer, tmp_path):
    student, teacher, other = (save(make_policy(n), tokenizer, tmp_path / str(n)) for n in range(3))
    module = DOPDModule(student, teacher, reference=Path(other))
    assert module.tokenizer.get_vocab() == tokenizer.get_vocab()
    assert module.reference.weights.name_or_path == other


def test_another_tokenizer_found_by_name_is_refused(make, make_policy, tmp_path):
    other = new_tokenizer(["wholly other words, worthwhile whales"], vocabulary_size=280)
    folder = save(make_policy(1), other, tmp_path)
    with pytest.raises(ConfigError, match="student and teacher have different tokenizers"):
        make(teacher=folder)
    with pytest.raises(ConfigError, match="student and reference have different tokenizers"):
        make(reference=folder, fusion=Reference())


def test_a_tokenizer_that_cannot_be_found_is_no_agreement(make, make_policy, tmp_path):
    folder = save(make_policy(1), None, tmp_path)
    with pytest.raises(ConfigError, match=r"tokenizer .* has no vocabulary"):
        make(teacher=folder)
    with pytest.raises(ConfigError, match="there is no such folder"):
        make(teacher=make_policy(1), teacher_tokenizer="./mistyped")


def test_a_teacher_may_have_a_larger_padded_vocabulary_but_no_smaller_one(make, make_policy, tokenizer):
    assert make(teacher=make_policy(1, vocab_size=400)).vocabulary_size == len(tokenizer)
    with pytest.raises(ConfigError, match="teacher: its vocabulary has 200 tokens"):
        make(teacher=make_policy(1, vocab_size=200))


def test_top_k_above_the_vocabulary(make, make_policy, tokenizer):
    make(teacher=make_policy(1), fusion=DOPD(top_k=len(tokenizer)))
    for without_top_k in (Teacher(top_k=5000), DOPD(top_k=5000, support="full")):
        make(teacher=make_policy(1), fusion=without_top_k)
    with pytest.raises(ConfigError, match=r"fusion\.top_k: 5000 is above"):
        make(teacher=make_policy(1), fusion=Teacher(support="top_k", top_k=5000))
    with pytest.raises(ConfigError, match=f"fusion.top_k: {len(tokenizer) + 1} is above the vocabulary"):
        make(teacher=make_policy(1, vocab_size=400), fusion=DOPD(top_k=len(tokenizer) + 1))


def test_more_new_tokens_than_positions(make, make_policy):
    rollout = StudentRollout(max_new_tokens=300)
    with pytest.raises(
        ConfigError, match="max_new_tokens: 300 leaves no room for a prompt in the teacher's 300 positions"
    ):
        make(teacher=make_policy(1, max_position_embeddings=300), rollout=rollout)
    make(teacher=make_policy(1, max_position_embeddings=301), rollout=rollout)


def test_one_model_in_two_roles_is_refused(make, make_policy):
    policy, teacher = make_policy(0), make_policy(1)
    with pytest.raises(ConfigError, match="teacher: it is the same model object as the student"):
        make(policy, policy)
    with pytest.raises(ConfigError, match=r"reference: it is the same model as the teacher .* choose another model"):
        make(policy, teacher, Policy(teacher))


def test_teacher_and_reference_of_the_same_weights_are_refused(make, make_policy, tokenizer, tmp_path):
    folder = save(make_policy(1), tokenizer, tmp_path)
    with pytest.raises(ConfigError, match=r"reference: it is the same model as the teacher .* gap is 0") as error:
        make(teacher=folder, reference=folder)
    assert folder in str(error.value)
    assert "load it twice" not in str(error.value)
    module = make(student=load_policy(folder), teacher=folder)  # the student's will change
    assert module.teacher is not module.student


def test_two_revisions_of_a_repository_are_two_models(make, make_policy, tokenizer, tmp_path):
    folder = save(make_policy(1), tokenizer, tmp_path)
    policies = [load_policy(folder) for _ in range(2)]
    for number, policy in enumerate(policies):
        policy.config._commit_hash = f"commit {number}"
    make(teacher=policies[0], reference=policies[1])


def test_a_reference_has_a_tokenizer_of_its_own(make, make_policy, tmp_path):
    other = new_tokenizer(["wholly other words, worthwhile whales"], vocabulary_size=280)
    with pytest.raises(ConfigError, match="student and reference have different tokenizers"):
        make(reference=make_policy(1), reference_tokenizer=other, fusion=Reference())


@pytest.mark.parametrize(
    ("rollout", "message"),
    [
        (DatasetRollout(), "fusion.support: 'sampled' needs responses that the student wrote"),
        (TeacherRollout(), "fusion.support: 'sampled' needs responses that the student wrote"),
        (MixedRollout(), "fusion.support: 'sampled' needs responses that the student wrote"),
        (StudentRollout(temperature=0.7), r"rollout\.temperature: 0\.7 means that responses are not sampled .* use 1"),
        (StudentRollout(top_p=0.9), r"rollout\.top_p: 0\.9 means that responses are not sampled .* use 1"),
        (StudentRollout(top_k=20), r"rollout\.top_k: 20 means that responses are not sampled .* use 0"),
    ],
)
@pytest.mark.parametrize("rule", [Teacher, DOPD])
def test_the_sampled_support_needs_plain_samples_of_the_student(make, make_policy, rule, rollout, message):
    with pytest.raises(ConfigError, match=message):
        make(teacher=make_policy(1), fusion=rule(support="sampled", top_k=8), rollout=rollout)
    make(teacher=make_policy(1), fusion=rule(support="top_k", top_k=8), rollout=rollout)
    make(teacher=make_policy(1), fusion=rule(support="sampled", top_k=8), rollout=StudentRollout())
    with pytest.raises(
        ConfigError,
        match=r"module\.loss_temperature: 2\.0 means that responses are not sampled from the distribution in the loss",
    ):
        make(teacher=make_policy(1), fusion=rule(support="sampled", top_k=8), loss_temperature=2.0)


class OfTheUsers:
    """A rule with no field that says so: its terms are the given one, from the so-manieth call on."""

    needs = frozenset({"teacher"})

    def __init__(self, divergence, first=1):
        self.divergence, self.first, self.calls = divergence, first, 0

    def __call__(self, statistics):
        self.calls += 1
        divergence = self.divergence if self.calls >= self.first else Divergence()
        return Supervision([Term("mine", "teacher", divergence, statistics.mask.float())])


def test_what_a_rule_builds_is_looked_at_and_not_its_fields(make, make_policy):
    sampled, data = Divergence(support="sampled"), DatasetRollout()
    with pytest.raises(ConfigError, match="'sampled' needs responses that the student wrote"):
        make(teacher=make_policy(1), fusion=OfTheUsers(sampled), rollout=data)
    make(teacher=make_policy(1), fusion=OfTheUsers(sampled))
    late = make(teacher=make_policy(1), fusion=OfTheUsers(sampled, first=2), rollout=data)
    batch = [{"prompt": "Add 1 2.", "privileged": "1", "completion": "3"}]
    late.training_step(batch, 0)
    with pytest.raises(ConfigError, match="'sampled' needs responses that the student wrote"):
        late.training_step(batch, 1)
    with pytest.raises(ConfigError, match=r"top_k: 5000 is above"):
        make(teacher=make_policy(1), fusion=OfTheUsers(Divergence(support="top_k", top_k=5000)))


def test_padding_falls_back_on_the_end_of_sequence_token(make, make_policy, tokenizer):
    without = copy.deepcopy(tokenizer)
    without.pad_token = None
    assert make(teacher=make_policy(1), tokenizer=without).pad_id == tokenizer.eos_token_id


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"reduction": "sum"}, "reduction: 'sum' is not one of rollout, token"),
        ({"loss_temperature": 0}, "loss_temperature: 0 must be above 0"),
        ({"verifier": "guess"}, "verifier: 'guess' is not one of"),
        ({"reference": "./no/such/model"}, "there is no such folder"),
    ],
)
def test_settings_of_the_module(make, make_policy, options, message):
    with pytest.raises(ConfigError, match=message):
        make(teacher=make_policy(1), **options)


def test_privileged_access_is_a_probability():
    with pytest.raises(ConfigError, match=r"privileged.teacher: 1.5"):
        PrivilegedAccess(teacher=1.5)


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated")  # peft's own
def test_a_wrapper_of_peft_is_refused(make, make_policy):
    wrapped = peft.get_peft_model(make_policy(), peft.LoraConfig(r=2, task_type="CAUSAL_LM"))
    with pytest.raises(ConfigError, match=r"student: PeftModelForCausalLM is not a transformers model; .*load_lora"):
        make(wrapped, fusion=Reference())


class Mesh:
    def __init__(self, size):
        self.size, self.get_local_rank = lambda: size, lambda: 0


@pytest.mark.parametrize(("strategy", "copies"), [(ModelParallelStrategy, 1), (FullyShardedStrategy, 2)])
def test_processes_that_share_the_work_of_one_are_refused(monkeypatch, strategy, copies):
    """Each would read examples of its own; Lightning's own default is one copy a node."""
    monkeypatch.setattr(ModelParallelStrategy, "device_mesh", {"data_parallel": Mesh(copies)})
    trainer = SimpleNamespace(strategy=strategy(), world_size=2, accumulate_grad_batches=1, callbacks=[])
    refused = pytest.raises(ConfigError, match=r"ModelParallelStrategy counts 2 processes as 1 .*FullyShardedStrategy")
    with refused if copies == 1 else nullcontext():
        check_trainer(trainer, "rollout", {})
