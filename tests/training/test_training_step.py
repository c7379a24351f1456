"""One step against the functions on plain tensors, with each sequence scored alone."""

from __future__ import annotations

import copy

import pytest
import torch
from transformers import GenerationConfig

from dopd_lightning.data import PromptFormat
from dopd_lightning.errors import DataError
from dopd_lightning.functional import dopd_loss
from dopd_lightning.fusion import DOPD, Data, Reference, Teacher
from dopd_lightning.inputs import Responses
from dopd_lightning.rollout import DatasetRollout, StudentRollout, TeacherRollout, generate
from dopd_lightning.training.privileged import PrivilegedAccess

pytestmark = pytest.mark.lowest
LIMIT = 8


def bare(example, tokenizer):
    return tokenizer(example["prompt"])["input_ids"]


def hinted(example, tokenizer):
    return tokenizer(f"{example['prompt']}\n\nHint: {example['privileged']}")["input_ids"]


def static_responses(examples, tokenizer):
    ids = [[*tokenizer(example["completion"])["input_ids"], tokenizer.eos_token_id] for example in examples]
    return [each[:LIMIT] for each in ids]


def logps(logits, response):
    return logits.log_softmax(-1)[torch.arange(len(response)), torch.tensor(response)].tolist()


@pytest.fixture
def expected(logits_of, tokenizer):
    """Loss and record of the paper's method, from single unpadded sequences: `(loss result, logits by role)`."""

    def compute(student, teacher, reference, examples, responses, **options):
        roles = {"student": (student, bare), "teacher": (teacher, hinted), "reference": (reference, hinted)}
        width = max(map(len, responses))
        logits = {}
        for role, (policy, prompt_of) in roles.items():
            each = [
                logits_of(policy, prompt_of(example, tokenizer), response)
                for example, response in zip(examples, responses, strict=True)
            ]
            padded = [torch.nn.functional.pad(rows, (0, 0, 0, width - len(rows))) for rows in each]
            logits[role] = torch.stack(padded)
        padded = Responses.from_lists(responses, 0)
        return dopd_loss(*logits.values(), padded.ids, padded.mask, **{"top_k": 8} | options), logits

    return compute


def tokens(record):
    """The unpadded responses."""
    return [ids[mask].tolist() for ids, mask in zip(record.response_ids, record.mask, strict=True)]


@pytest.mark.parametrize("padding_side", ["left", "right"])
@pytest.mark.parametrize("pad_is_eos", [False, True])
def test_loss_gradient_and_record_are_those_of_the_method(
    make_module, make_policy, tokenizer, examples, expected, padding_side, pad_is_eos
):
    tokenizer = copy.deepcopy(tokenizer)
    tokenizer.padding_side = padding_side
    if pad_is_eos:
        tokenizer.pad_token = tokenizer.eos_token
    module = make_module(tokenizer=tokenizer)
    step = module.training_step(examples, 0)
    step["loss"].backward()

    student, responses = make_policy(0), static_responses(examples, tokenizer)
    result, logits = expected(student, make_policy(1), make_policy(0), examples, responses)
    result.loss.backward()
    torch.testing.assert_close(step["loss"], result.loss, rtol=1e-4, atol=1e-5)
    for (name, ours), theirs in zip(module.student.named_parameters(), student.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-3, atol=1e-5, msg=name)

    record = step["record"]
    assert [ids[mask].tolist() for ids, mask in zip(record.response_ids, record.mask, strict=True)] == responses
    assert record.regimes.tolist() == result.regimes.tolist()
    assert len(record.regimes.unique()) >= 4, "most regimes are met, or the test would say little"
    torch.testing.assert_close(record.loss, result.per_token, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(record.gap, result.gap, rtol=1e-3, atol=1e-4)
    for role in ("student", "teacher", "reference"):
        found = getattr(record, f"{role}_logp")
        for n, response in enumerate(responses):
            assert found[n, : len(response)].tolist() == pytest.approx(logps(logits[role][n], response), abs=1e-4)
    assert not torch.allclose(record.student_logp, record.reference_logp), "the hint changes what the student says"


def test_the_end_of_sequence_token_has_a_loss_and_padding_has_none(make_module, examples):
    record = make_module(fusion=Teacher()).training_step(examples, 0)["record"]
    lengths = record.mask.sum(1).tolist()
    assert lengths[2] == 1, "the empty completion is its end alone"
    assert all(record.loss[n, length - 1] > 0 for n, length in enumerate(lengths))
    assert not record.loss[~record.mask].any()


def test_a_completion_of_a_chat_ends_as_its_template_ends_a_turn(make_module, tokenizer):
    chats = copy.deepcopy(tokenizer)
    chats.chat_template = tokenizer.chat_template.replace(tokenizer.eos_token, tokenizer.pad_token)
    with pytest.warns(UserWarning, match=r"\(id 0\), of the student's chat template"):
        module = make_module(fusion=Data(), tokenizer=chats)
    examples = [{"prompt": prompt, "completion": "3"} for prompt in ("1 2", [{"role": "user", "content": "1 2"}])]
    record = module.training_step(examples, 0)["record"]
    ends = [row[mask][-1].item() for row, mask in zip(record.response_ids, record.mask, strict=True)]
    assert ends == [tokenizer.eos_token_id, tokenizer.pad_token_id]
    assert record.ended.all()


def test_the_ends_of_responses_may_be_left_out_of_the_routings_means(make_module, examples, tokenizer):
    def step(**options):
        fusion = DOPD(top_k=8, outlier_fraction=0, **options)
        return make_module(fusion=fusion).training_step(examples, 0)["record"]

    record, default = step(ends_in_means=False), step()
    counted = record.mask & (record.response_ids != tokenizer.eos_token_id)
    assert counted.sum() < record.mask.sum()
    for found, of in ((record, counted), (default, record.mask)):
        assert found.thresholds.gap == pytest.approx(record.gap[of].mean().item())
        assert found.thresholds.teacher_prob == pytest.approx(record.teacher_logp[of].exp().mean().item())


def test_an_empty_response_takes_part_without_a_loss(make_module, examples):
    class Silent:
        samples_per_prompt, writers, student_writes, sampling = 1, frozenset(), False, DatasetRollout().sampling

        def __call__(self, request):
            return [[], [], []]

    module = make_module(rollout=Silent())
    loss = module.training_step(examples, 0)["loss"]
    loss.backward()
    assert loss == 0
    assert all(not parameter.grad.any() for parameter in module.student.parameters())


def test_each_prompt_stands_before_each_of_its_rollouts(make_module, make_policy, tokenizer, examples, expected):
    torch.manual_seed(0)
    module = make_module(rollout=StudentRollout(max_new_tokens=5, samples_per_prompt=2))
    step = module.training_step(examples, 0)
    record = step["record"]
    responses = tokens(record)
    twice = [example for example in examples for _ in range(2)]
    result, _ = expected(make_policy(0), make_policy(1), make_policy(0), twice, responses)
    torch.testing.assert_close(step["loss"], result.loss, rtol=1e-4, atol=1e-5)


def test_rollouts_are_the_bare_students(make_module, make_policy, tokenizer, examples):
    rollout = StudentRollout(max_new_tokens=5, samples_per_prompt=1, temperature=0)
    record = make_module(rollout=rollout).training_step(examples, 0)["record"]
    pads = {"eos_ids": [tokenizer.eos_token_id], "pad_id": 0, "vocabulary_size": len(tokenizer)}
    alone = generate(make_policy(0), [bare(example, tokenizer) for example in examples], rollout, **pads)
    assert tokens(record) == alone


def test_any_of_the_students_ends_ends_a_rollout(make_module, make_policy, examples):
    rollout = StudentRollout(max_new_tokens=5, samples_per_prompt=1, temperature=0)
    whole = make_module(rollout=rollout).training_step(examples, 0)["record"].response_ids
    student = make_policy(0)
    student.generation_config.eos_token_id = [int(whole[0, 2]), int(whole[1, 1])]
    record = make_module(student, rollout=rollout).training_step(examples, 0)["record"]
    last = [response[-1] for response in tokens(record)[:2]]
    assert set(last) <= set(student.generation_config.eos_token_id)
    assert record.mask.sum(1)[:2].tolist() <= [3, 2]


def test_a_teachers_rollouts_are_under_its_privileged_prompt(make_module, make_policy, tokenizer, examples):
    rollout = TeacherRollout(max_new_tokens=5, samples_per_prompt=1, temperature=0)
    record = make_module(rollout=rollout, fusion=Data()).training_step(examples, 0)["record"]
    pads = {"eos_ids": [tokenizer.eos_token_id], "pad_id": 0, "vocabulary_size": len(tokenizer)}
    alone = generate(make_policy(1), [hinted(example, tokenizer) for example in examples], rollout, **pads)
    assert tokens(record) == alone


@pytest.mark.parametrize("kind", ["snapshot", "ema", "model"])
def test_the_gap_is_from_the_reference_of_the_kind_chosen(
    make_module, make_policy, tokenizer, examples, expected, kind
):
    student = make_policy(0)
    module = make_module(student, reference=make_policy(2) if kind == "model" else kind)
    with torch.no_grad():
        for parameter in student.parameters():
            parameter.mul_(1.1)
    reference = make_policy(2 if kind == "model" else 0)
    responses = static_responses(examples, tokenizer)
    result, _ = expected(student, make_policy(1), reference, examples, responses)
    step = module.training_step(examples, 0)
    torch.testing.assert_close(step["record"].gap, result.gap, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(step["loss"], result.loss, rtol=1e-4, atol=1e-5)


def test_a_padded_vocabulary_changes_nothing(make_module, make_policy, tokenizer, examples):
    def padded(seed):
        policy = make_policy(seed)
        policy.resize_token_embeddings(len(tokenizer) + 40, mean_resizing=False)
        with torch.no_grad():
            policy.get_input_embeddings().weight[len(tokenizer) :] = 3.0  # much phantom mass
        return policy

    plain = make_module().training_step(examples, 0)["loss"]
    for student, teacher in ((None, padded(1)), (padded(0), None), (padded(0), padded(1))):
        torch.testing.assert_close(make_module(student, teacher).training_step(examples, 0)["loss"], plain)


def test_a_student_with_a_padded_vocabulary_never_answers_with_padding(make_module, make_policy, tokenizer, examples):
    student = make_policy(0, vocab_size=4 * len(tokenizer), initializer_range=0.02)
    module = make_module(student, rollout=StudentRollout(max_new_tokens=16, samples_per_prompt=2))
    record = module.training_step(examples, 0)["record"]
    assert record.response_ids.max() < len(tokenizer)


def test_sampling_is_not_in_the_loss(make_module, make_policy, tokenizer, examples, expected):
    torch.manual_seed(0)
    sampling = StudentRollout(max_new_tokens=5, samples_per_prompt=1, temperature=0.3, top_p=0.9, top_k=7)
    student = make_policy(0)
    student.generation_config = GenerationConfig(temperature=0.2, do_sample=True, repetition_penalty=3.0)
    step = make_module(student, rollout=sampling).training_step(examples, 0)
    responses = tokens(step["record"])
    result, _ = expected(make_policy(0), make_policy(1), make_policy(0), examples, responses)
    torch.testing.assert_close(step["loss"], result.loss, rtol=1e-4, atol=1e-5)


def test_the_loss_temperature_divides_all_logits_of_the_divergence(make_module, examples):
    def loss(policy_scale, temperature):
        module = make_module(fusion=Teacher(), loss_temperature=temperature)
        for policy in (module.student, module.teacher):
            head = torch.nn.Linear(32, policy.config.vocab_size, bias=False)
            head.weight.data = policy.lm_head.weight.data / policy_scale
            policy.lm_head = head
        return module.training_step(examples, 0)["loss"]

    torch.testing.assert_close(loss(1, 2.0), loss(2, 1.0))
    assert not torch.isclose(loss(1, 2.0), loss(1, 1.0))


def test_the_reduction_is_passed_on(make_module, make_policy, tokenizer, examples, expected):
    responses = static_responses(examples, tokenizer)
    policies = make_policy(0), make_policy(1), make_policy(0)
    losses = {}
    for reduction in ("rollout", "token"):
        losses[reduction] = make_module(reduction=reduction).training_step(examples, 0)["loss"]
        result, _ = expected(*policies, examples, responses, reduction=reduction)
        torch.testing.assert_close(losses[reduction], result.loss, rtol=1e-4, atol=1e-5)
    assert not torch.isclose(losses["rollout"], losses["token"])


def test_what_a_rule_does_not_need_is_not_computed(make_module, examples):
    record = make_module(fusion=Teacher()).training_step(examples, 0)["record"]
    assert record.reference_logp is None
    assert record.gap is None
    assert record.regimes is None
    record = make_module(fusion=Reference()).training_step(examples, 0)["record"]
    assert record.teacher_logp is None
    record = make_module(fusion=Data()).training_step(examples, 0)["record"]
    assert (record.teacher_logp, record.reference_logp) == (None, None)


def test_the_record_is_detached(make_module, examples):
    record = make_module().training_step(examples, 0)["record"]
    assert not any(value.requires_grad for value in vars(record).values() if isinstance(value, torch.Tensor))


def test_privileged_access_says_who_sees_the_hint(make_module, examples):
    def logp(role, **access):
        record = make_module(privileged=PrivilegedAccess(**access)).training_step(examples, 0)["record"]
        return getattr(record, f"{role}_logp")

    torch.testing.assert_close(logp("reference", reference=0.0), logp("student"))
    torch.testing.assert_close(logp("student", student=1.0), logp("reference"))
    assert not torch.allclose(logp("teacher", teacher=0.0), logp("teacher"))


def test_privileged_access_is_drawn_for_each_example(make_module, examples):
    torch.manual_seed(0)
    module = make_module(privileged=PrivilegedAccess(student=0.5))
    records = [module.training_step(examples[:1], 0)["record"] for _ in range(20)]
    assert len({record.student_logp[0, 0].item() for record in records}) == 2, "with the hint, and without"


def test_a_prompt_beyond_the_limit_is_refused_and_not_cut(make_module, examples):
    module = make_module(prompt_format=PromptFormat(max_tokens=10))
    with pytest.raises(DataError, match=r"a prompt has \d+ tokens .*max_tokens=10"):
        module.training_step(examples, 0)


def test_a_prompt_that_leaves_no_positions_for_its_response_is_refused(make_module, examples):
    module = make_module(rollout=DatasetRollout(max_new_tokens=508))  # of the 512 positions of the tiny policies
    with pytest.raises(DataError, match=r"at most 4 .*positions must hold rollout.max_new_tokens=508 more"):
        module.training_step(examples, 0)


def test_a_chat_is_put_through_the_template(make_module, tokenizer, logits_of):
    chat = {"prompt": [{"role": "user", "content": "Add 1 2."}], "privileged": "p", "completion": "3"}
    text = tokenizer.apply_chat_template(chat["prompt"], tokenize=False, add_generation_prompt=True)
    module = make_module(fusion=DOPD(top_k=8))
    record = module.training_step([chat], 0)["record"]
    ids = record.response_ids[record.mask]
    logps = logits_of(module.student, tokenizer(text)["input_ids"], ids.tolist()).log_softmax(-1)
    expected = logps.gather(-1, ids[:, None])[:, 0]
    torch.testing.assert_close(record.student_logp[record.mask], expected, rtol=1e-4, atol=1e-5)
