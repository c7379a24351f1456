"""The same response tokens behind prompts of different lengths."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dopd_lightning.views import Responses, response_logits, view_of

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
    assert view.input_ids.tolist() == [[1, 2, 3, 5, 0], [0, 0, 4, 6, 7]]
    assert view.attention_mask.tolist() == [[1, 1, 1, 1, 0], [0, 0, 1, 1, 1]]
    assert view.position_ids.tolist() == [[0, 1, 2, 3, 3], [0, 0, 0, 1, 2]]
    assert view.response_width == 2


@given(st.lists(rows, min_size=1, max_size=4), tokens)
def test_every_real_token_is_attended_once_in_order_and_responses_are_the_last_columns(batch, pad_id):
    responses = Responses.from_lists([response for _, response in batch], pad_id)
    assert [row[mask].tolist() for row, mask in zip(responses.ids, responses.mask, strict=True)] == [
        response for _, response in batch
    ]
    view = view_of([prompt for prompt, _ in batch], responses, pad_id)
    assert view.input_ids[:, -view.response_width :].tolist() == responses.ids.tolist()
    for n, (prompt, response) in enumerate(batch):
        real = view.attention_mask[n].bool()
        assert view.input_ids[n][real].tolist() == prompt + response
        assert view.position_ids[n][real].tolist() == list(range(len(prompt) + len(response)))


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
    dirty = Responses(clean.ids.masked_fill(~clean.mask, 99), clean.mask)
    a, b = (response_logits(policy, view_of(PROMPTS, each, 0), len(tokenizer)) for each in (clean, dirty))
    torch.testing.assert_close(a[clean.mask], b[clean.mask])


def test_logits_are_cut_to_the_real_vocabulary(make_policy, tokenizer):
    padded = make_policy(vocab_size=len(tokenizer) + 40)
    view = view_of(PROMPTS, Responses.from_lists(RESPONSES, 0), 0)
    assert response_logits(padded, view, len(tokenizer)).shape[-1] == len(tokenizer)
