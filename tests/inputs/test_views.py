"""The same response tokens behind prompts of different lengths."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dopd_lightning.inputs import Responses, view_of
from dopd_lightning.scores import head_of, response_logits, response_states

tokens = st.integers(0, 9)
rows = st.tuples(st.lists(tokens, min_size=1, max_size=6), st.lists(tokens, max_size=5))


def test_responses_are_padded_on_the_right():
    responses = Responses.from_lists([[5, 6, 7], [], [8]], pad_id=0)
    assert responses.ids.tolist() == [[5, 6, 7], [0, 0, 0], [8, 0, 0]]
    assert responses.mask.tolist() == [[True] * 3, [False] * 3, [True, False, False]]


def test_empty_responses_still_take_a_column():
    responses = Responses.from_lists([[], []], pad_id=0)
    assert responses.mask.tolist() == [[False], [False]]


def test_the_end_of_sequence_token_is_in_the_mask_although_it_is_the_padding():
    responses = Responses.from_lists([[5, 9], [9]], pad_id=9)
    assert responses.mask.tolist() == [[True, True], [True, False]]


def test_a_view_by_hand():
    view = view_of([[1, 2, 3], [4]], Responses.from_lists([[5], [6, 7]], pad_id=0), pad_id=0)
    assert view.inputs["input_ids"].tolist() == [[1, 2, 3, 5, 0], [0, 0, 4, 6, 7]]
    assert view.inputs["attention_mask"].tolist() == [[1, 1, 1, 1, 0], [0, 0, 1, 1, 1]]
    assert view.inputs["position_ids"].tolist() == [[0, 1, 2, 3, 3], [0, 0, 0, 1, 2]]
    assert view.response_width == 2


@given(st.lists(rows, min_size=1, max_size=4), tokens)
def test_every_real_token_is_attended_once_in_order_and_responses_are_the_last_columns(batch, pad_id):
    responses = Responses.from_lists([response for _, response in batch], pad_id)
    assert [row[mask].tolist() for row, mask in zip(responses.ids, responses.mask, strict=True)] == [
        response for _, response in batch
    ]
    view = view_of([prompt for prompt, _ in batch], responses, pad_id)
    assert view.inputs["input_ids"][:, -view.response_width :].tolist() == responses.ids.tolist()
    for n, (prompt, response) in enumerate(batch):
        real = view.inputs["attention_mask"][n].bool()
        assert view.inputs["input_ids"][n][real].tolist() == prompt + response
        assert view.inputs["position_ids"][n][real].tolist() == list(range(len(prompt) + len(response)))


PROMPTS = [[40, 41, 42, 43, 44], [50], [60, 61]]
RESPONSES = [[70, 71], [80, 81, 82, 83], [90]]


LEARNED_POSITIONS = {"model_type": "gpt2", "n_embd": 32, "n_layer": 1, "n_head": 2, "n_positions": 32}


@pytest.mark.parametrize("fields", [{}, LEARNED_POSITIONS], ids=["relative positions", "absolute positions"])
@pytest.mark.parametrize("pad_id", [0, 71], ids=["padding of its own", "padding that is also a response token"])
def test_logits_are_those_of_each_sequence_alone(make_policy, logits_of, tokenizer, pad_id, fields):
    policy = make_policy(**fields)
    view = view_of(PROMPTS, Responses.from_lists(RESPONSES, pad_id), pad_id)
    logits = response_logits(policy, view, len(tokenizer))
    assert logits.shape == (3, 4, len(tokenizer))
    for n, (prompt, response) in enumerate(zip(PROMPTS, RESPONSES, strict=True)):
        torch.testing.assert_close(
            logits[n, : len(response)], logits_of(policy, prompt, response), rtol=1e-4, atol=1e-4
        )


def test_logits_do_not_depend_on_what_stands_at_masked_places(make_policy, tokenizer):
    policy = make_policy()
    clean = Responses.from_lists(RESPONSES, 0)
    dirty = Responses(clean.ids.masked_fill(~clean.mask, 99), clean.mask, clean.own)
    a, b = (response_logits(policy, view_of(PROMPTS, each, 0), len(tokenizer)) for each in (clean, dirty))
    torch.testing.assert_close(a[clean.mask], b[clean.mask])


def test_logits_are_cut_to_the_real_vocabulary(make_policy, tokenizer):
    padded = make_policy(vocab_size=len(tokenizer) + 40)
    view = view_of(PROMPTS, Responses.from_lists(RESPONSES, 0), 0)
    assert response_logits(padded, view, len(tokenizer)).shape[-1] == len(tokenizer)


# --- hidden states ----------------------------------------------------------------------------------------------------

ARCHITECTURES = {
    "qwen3": {},
    "gpt2": LEARNED_POSITIONS,
    "gemma2": {"model_type": "gemma2", "final_logit_softcapping": 3.0},
    "granite": {"model_type": "granite", "logits_scaling": 4.0},
}


def view(width: int = 4):
    return view_of(PROMPTS, Responses.from_lists([response[:width] for response in RESPONSES], 0), 0)


@pytest.mark.parametrize("width", [0, 1, 4])
@pytest.mark.parametrize("fields", ARCHITECTURES.values(), ids=ARCHITECTURES)
def test_the_head_makes_the_logits_of_the_states(make_policy, tokenizer, fields, width):
    policy = make_policy(**fields)
    states, expected = response_states(policy, view(width)), response_logits(policy, view(width), len(tokenizer))
    assert states.shape == (3, max(width, 1), 32)
    with torch.no_grad():
        logits = head_of(policy, len(tokenizer)).logits(states.flatten(0, 1), torch.empty(expected.shape).flatten(0, 1))
    torch.testing.assert_close(logits.view_as(expected), expected)


def test_a_policy_that_makes_all_logits_whatever_is_asked_for_is_read_all_the_same(make_policy, monkeypatch):
    policy = make_policy()
    expected, forward = response_states(policy, view()), policy.forward
    monkeypatch.setattr(policy, "forward", lambda *, logits_to_keep, **inputs: forward(**inputs))
    torch.testing.assert_close(response_states(policy, view()), expected)


@pytest.mark.parametrize("tied", [True, False])
def test_the_gradient_by_states_is_that_by_logits(make_policy, tokenizer, tied):
    policy = make_policy(tie_word_embeddings=tied)
    chosen = torch.randn(3, 4, len(tokenizer), generator=torch.Generator().manual_seed(0))
    gradients = []
    for logits in (
        response_logits(policy, view(), len(tokenizer)),
        response_states(policy, view()) @ policy.lm_head.weight.t(),
    ):
        policy.zero_grad()
        (logits * chosen).sum().backward()
        gradients.append({name: parameter.grad.clone() for name, parameter in policy.named_parameters()})
    for name, gradient in gradients[0].items():
        assert gradient.any()
        torch.testing.assert_close(gradients[1][name], gradient, rtol=1e-4, atol=1e-4, msg=name)


def test_the_head_gets_no_rows_to_work_on(make_policy):
    policy, rows = make_policy(), []
    policy.lm_head.register_forward_hook(lambda _, args, output: rows.append(output.shape[1]))
    response_states(policy, view())
    assert rows == [0]


def test_the_policy_is_left_as_it_was(make_policy, tokenizer):
    policy = make_policy()
    before = response_logits(policy, view(), len(tokenizer))
    response_states(policy, view())
    assert torch.equal(response_logits(policy, view(), len(tokenizer)), before)


def test_the_policy_is_left_as_it_was_by_an_error_too(make_policy, tokenizer, monkeypatch):
    def broken(**_):
        raise KeyError

    policy = make_policy()
    with monkeypatch.context() as patch:
        patch.setattr(policy.model, "forward", broken)
        with pytest.raises(KeyError):
            response_states(policy, view())
    assert response_logits(policy, view(), len(tokenizer)).shape == (3, 4, len(tokenizer))


def test_no_response_at_all_is_read_as_nothing_with_a_gradient_of_zero(make_policy):
    """One of several processes may have nothing to read, while the others wait for it to read along."""
    policy = make_policy()
    responses = Responses.from_lists([], pad_id=0)
    view = view_of([], responses, pad_id=0)
    assert response_logits(policy, view, 280).shape == (0, 1, 280)
    states = response_states(policy, view)
    assert states.shape == (0, 1, 32)
    states.sum().backward()
    gradients = {name: weight.grad for name, weight in policy.named_parameters() if "layers" in name}
    assert all(gradient is not None and not gradient.any() for gradient in gradients.values())
