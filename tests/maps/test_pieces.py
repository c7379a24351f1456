"""Whatever the tokenizer, the pieces of a text's tokens are the text."""

from __future__ import annotations

import pytest
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from dopd_lightning.maps.pieces import token_pieces

TEXT = "Add 12 and 30: é, 中, 🙂 <b>▁</b>"


def sentencepiece(decoder):
    """A vocabulary of bytes and a few words, as Llama's and Gemma's are."""
    vocabulary = {"<unk>": 0, "▁": 1, "▁Add": 2, "<0xZZ>": 3}
    vocabulary |= {f"<0x{byte:02X}>": byte + 4 for byte in range(256)} | {"A": 260, "d": 261, "▁A": 262, "▁Ad": 263}
    merges = [("▁", "A"), ("▁A", "d"), ("▁Ad", "d")]
    tokenizer = Tokenizer(models.BPE(vocabulary, merges, byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoder
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>")


def test_byte_level_tokens_join_to_the_text_byte_by_byte(tokenizer):
    ids = tokenizer.encode(TEXT, add_special_tokens=False)
    assert b"".join(token_pieces(tokenizer, ids)[token] for token in ids) == TEXT.encode()


def test_byte_level_added_tokens_are_their_text_even_where_it_looks_encoded(tokenizer):
    fast = PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(tokenizer.backend_tokenizer.to_str()))
    fast.add_tokens([AddedToken("Ġé <x>", special=False)])
    assert token_pieces(fast, [len(fast) - 1]) == {len(fast) - 1: "Ġé <x>".encode()}
    assert token_pieces(tokenizer, [tokenizer.eos_token_id]) == {tokenizer.eos_token_id: tokenizer.eos_token.encode()}


@pytest.mark.parametrize(
    "decoder",
    [
        decoders.Sequence(
            [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
        ),
        decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace()]),
        decoders.Metaspace(),
    ],
    ids=["replace", "byte fallback first", "metaspace"],
)
def test_sentencepiece_tokens_have_spaces_and_bytes(decoder):
    tokenizer = sentencepiece(decoder)
    ids = tokenizer.encode("Add é🙂 Add", add_special_tokens=False)
    assert b"".join(token_pieces(tokenizer, ids)[token] for token in ids) == " Add é🙂 Add".encode()
    assert token_pieces(tokenizer, [3]) == {3: b"<0xZZ>"}


def test_wordpiece_tokens_begin_words_with_a_space_and_continue_without():
    tokenizer = Tokenizer(models.WordPiece({"[UNK]": 0, "add": 1, "##ing": 2, "it": 3}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.Whitespace(), decoders.WordPiece()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="[UNK]")
    ids = fast.encode("adding it", add_special_tokens=False)
    assert [token_pieces(fast, ids)[token] for token in ids] == [b" add", b"ing", b" it"]


def test_tokens_with_a_suffix_end_words_with_a_space():
    tokenizer = Tokenizer(models.BPE(unk_token="[UNK]", end_of_word_suffix="</w>"))
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.Whitespace(), decoders.BPEDecoder(suffix="</w>")
    trainer = trainers.BpeTrainer(special_tokens=["[UNK]"], end_of_word_suffix="</w>", show_progress=False)
    tokenizer.train_from_iterator(["add it"] * 3, trainer)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="[UNK]")
    ids = fast.encode("add it", add_special_tokens=False)
    assert b"".join(token_pieces(fast, ids)[token] for token in ids) == b"add it "


def test_a_vocabulary_without_a_decoder_is_taken_as_it_is():
    fast = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.WordLevel({"Ġ▁": 0}, unk_token="Ġ▁")))
    assert token_pieces(fast, [0]) == {0: "Ġ▁".encode()}


def test_padded_rows_of_the_model_are_shown_by_their_number(tokenizer):
    assert token_pieces(tokenizer, [151_999]) == {151_999: b"<id 151999>"}
