"""Token texts: clusters join back to the input, whatever the script and the tokenizer."""

import base64
import random

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AddedToken, PreTrainedTokenizer, PreTrainedTokenizerFast

from lens_core.tokens import label, token_records, tokenizer_sha256, vocab_entries, vocab_entry

TEXTS = {
    "english": "Hello  world,\n\tit's  me. ",
    "chinese": "我爱中国，一二三。𠮷野家",
    "japanese": "日本語のテキスト、カタカナ ｶﾅ",
    "emoji": "😀🎉 ok 🏳️‍🌈👨‍👩‍👧‍👦",
    "combining": "e\u0301 n\u0303o a\u0308\u0323 क्षि",
    "rtl": "שלום עולם \u202bمرحبا\u202c \u200fabc",
    "zero_width": "a\u200bb\u200d\ufeffc\u2060",
    "controls": "\x00\x01\r\n\x7f\u00a0\u3000",
    "markup": "<script>alert(1)</script> ${HOME} {{value}} <0x41> ▁",
    "special": "a<|endoftext|>我<think>b</think>",
}


def byte_level(vocab_size: int = 290) -> PreTrainedTokenizerFast:
    """Byte-level BPE whose merges cut Chinese characters anywhere."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=["<|endoftext|>", "<|pad|>"],
        show_progress=False,
    )
    tokenizer.train_from_iterator(["hello world 我爱中国 日本語 " * 3, *TEXTS.values()], trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<|endoftext|>", pad_token="<|pad|>"
    )
    fast.add_tokens([AddedToken("<think>", normalized=False), AddedToken("</think>")])
    return fast


def byte_fallback() -> PreTrainedTokenizerFast:
    """A SentencePiece-like BPE: ▁ for spaces, <0xNN> for what is not in the vocabulary."""
    pieces = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    pieces += ["▁", "O", "n", "c", "e", "▁O", "▁On", "▁Onc", "▁Once", "我"]
    merges = [("▁", "O"), ("▁O", "n"), ("▁On", "c"), ("▁Onc", "e")]
    vocab = {piece: i for i, piece in enumerate(pieces)}
    model = models.BPE(vocab, merges, byte_fallback=True, unk_token="<unk>", fuse_unk=True)
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="never", split=False)
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="<unk>", bos_token="<s>", eos_token="</s>"
    )


class Slow(PreTrainedTokenizer):
    """A slow tokenizer with one token a character, bytes for what it does not know."""

    def __init__(self, **kwargs: str) -> None:
        chars = ["<unk>", "▁", *"abc我", *(f"<0x{byte:02X}>" for byte in range(256))]
        self.pieces = chars
        self.ids = {piece: i for i, piece in enumerate(chars)}
        super().__init__(unk_token="<unk>", **kwargs)

    @property
    def vocab_size(self) -> int:
        return len(self.pieces)

    def get_vocab(self) -> dict[str, int]:
        return dict(self.ids)

    def _tokenize(self, text: str, **kwargs: object) -> list[str]:
        pieces: list[str] = []
        for char in text.replace(" ", "▁"):
            known = char in self.ids
            pieces += [char] if known else [f"<0x{byte:02X}>" for byte in char.encode()]
        return pieces

    def _convert_token_to_id(self, token: str) -> int:
        return self.ids[token]

    def _convert_id_to_token(self, index: int) -> str:
        return self.pieces[index]


def cluster_texts(records: list[dict]) -> list[str]:
    return list({record["cluster"]: record["cluster_text"] for record in records}.values())


def ids_of(tokenizer, text: str) -> list[int]:
    return tokenizer(text, add_special_tokens=False)["input_ids"]


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS.keys())
@pytest.mark.parametrize("vocab_size", [258, 290, 400])
def test_byte_level_texts_join_to_the_input(text: str, vocab_size: int) -> None:
    records = token_records(tokenizer := byte_level(vocab_size), ids_of(tokenizer, text))
    assert "".join(record["text"] for record in records) == text
    assert "".join(cluster_texts(records)) == text
    assert [record["i"] for record in records] == list(range(len(records)))


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS.keys())
def test_byte_fallback_texts_join_to_the_input(text: str) -> None:
    records = token_records(tokenizer := byte_fallback(), ids_of(tokenizer, text))
    # ▁ itself cannot be told from a space in such a tokenizer.
    assert "".join(record["text"] for record in records) == text.replace("▁", " ")


@pytest.mark.parametrize("text", ["abc 我", "é 😀 a", " a  b"])
def test_slow_tokenizer_joins_to_the_input(text: str) -> None:
    tokenizer = Slow()
    records = token_records(tokenizer, ids_of(tokenizer, text))
    assert "".join(record["text"] for record in records) == text


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS.keys())
def test_clusters_agree_with_the_offsets_of_the_tokenizer(text: str) -> None:
    tokenizer = byte_level()
    encoding = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    for record, (start, end) in zip(
        token_records(tokenizer, encoding["input_ids"]), encoding["offset_mapping"], strict=True
    ):
        if record["char_start"] is not None:
            assert record["char_start"] <= start <= end <= record["char_end"]
            assert text[record["char_start"] : record["char_end"]] == record["cluster_text"]


def test_character_positions_slice_the_joined_text() -> None:
    tokenizer = byte_fallback()
    records = token_records(tokenizer, [1, *ids_of(tokenizer, " Once 我é"), 2])
    joined = "".join(cluster_texts(records))
    assert joined == "<s> Once 我é</s>"
    assert records[0]["char_start"] is None
    for record in records[1:-1]:
        assert joined[record["char_start"] : record["char_end"]] == record["cluster_text"]


def test_split_character_is_one_cluster_of_partial_tokens() -> None:
    tokenizer = byte_level(258)  # no merges: every byte is a token
    records = token_records(tokenizer, ids_of(tokenizer, "a我 "))
    assert [record["kind"] for record in records] == ["normal", *["partial"] * 3, "space"]
    assert [record["bytes_hex"] for record in records] == ["61", "E6", "88", "91", "20"]
    assert [record["cluster"] for record in records] == [0, 1, 1, 1, 2]
    assert [record["text"] for record in records] == ["a", "", "", "我", " "]
    assert {record["cluster_text"] for record in records[1:4]} == {"我"}


def byte_ids(tokenizer, raw: bytes) -> list[int]:
    by_byte = {
        entry["bytes"]: token for token, entry in vocab_entries(tokenizer, range(2, 258)).items()
    }
    return [by_byte[base64.b64encode(bytes([byte])).decode()] for byte in raw]


@pytest.mark.parametrize(
    ("raw", "clusters"),
    [
        (b"\xffa", ["\ufffd", "a"]),
        (b"\xe6\x88a", ["\ufffda"]),
        (b"\xe6\x88", ["\ufffd"]),
        (b"a\x80\xe6\x88\x91", ["a", "\ufffd", "我"]),
        (b"\xe6\xe6\x88\x91", ["\ufffd我"]),
    ],
)
def test_invalid_bytes_become_replacement_characters(raw: bytes, clusters: list[str]) -> None:
    tokenizer = byte_level(258)
    records = token_records(tokenizer, byte_ids(tokenizer, raw))
    assert cluster_texts(records) == clusters
    assert "".join(clusters) == raw.decode(errors="replace")
    assert all(r["kind"] == "partial" for r in records if "\ufffd" in r["cluster_text"])


def test_random_bytes_join_to_their_lossy_decoding() -> None:
    tokenizer = byte_level(258)
    raw = random.Random(0).randbytes(2000)
    records = token_records(tokenizer, byte_ids(tokenizer, raw))
    assert "".join(record["text"] for record in records) == raw.decode(errors="replace")
    assert "".join(cluster_texts(records)) == raw.decode(errors="replace")


def test_added_token_closes_an_unfinished_character() -> None:
    tokenizer = byte_level(258)
    ids = [*byte_ids(tokenizer, b"\xe6\x88"), 0, *byte_ids(tokenizer, b"\x91")]
    assert cluster_texts(token_records(tokenizer, ids)) == ["\ufffd", "<|endoftext|>", "\ufffd"]


def test_kinds_of_added_tokens() -> None:
    tokenizer = byte_level()
    ids = [0, 1, tokenizer.get_vocab()["<think>"]]
    end, pad, think = token_records(tokenizer, ids)
    assert (end["kind"], pad["kind"], think["kind"]) == ("special", "pad", "normal")
    assert (end["char_start"], think["char_start"]) == (None, len("<|endoftext|><|pad|>"))
    assert think["bytes_hex"] is None
    assert think["text"] == "<think>"


@pytest.mark.parametrize("token", [300, 100_000, 2**40])
def test_row_without_a_token_is_named_by_its_id(token: int) -> None:
    for tokenizer in (byte_level(), Slow()):
        (record,) = token_records(tokenizer, [token])
        assert record["text"] == f"<id {token}>"
        assert record["kind"] == "special"
        assert vocab_entry(tokenizer, token) == {"text": f"<id {token}>", "bytes": None}


def test_word_end_mark_of_plain_bpe_is_a_space() -> None:
    vocab = {"a": 0, "b</w>": 1, "ab</w>": 2}
    tokenizer = Tokenizer(models.BPE(vocab, [("a", "b</w>")], end_of_word_suffix="</w>"))
    tokenizer.decoder = decoders.BPEDecoder(suffix="</w>")
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer)
    assert [record["text"] for record in token_records(fast, [2, 0, 1])] == ["ab ", "a", "b "]


def test_without_a_tokenizer_the_texts_are_the_ids() -> None:
    first, second = token_records(None, [7, 42])
    assert (first["text"], second["cluster_text"], second["kind"]) == ("7", "42", "normal")
    assert second["char_start"] is None
    assert vocab_entry(None, 42) == {"text": "42", "bytes": None}
    assert list(first) == list(token_records(byte_level(), [5])[0])


def test_vocabulary_bytes_are_exact() -> None:
    tokenizer = byte_level(258)
    entries = vocab_entries(tokenizer, range(258))
    seen = sorted(base64.b64decode(entries[token]["bytes"]) for token in range(2, 258))
    assert seen == [bytes([byte]) for byte in range(256)]
    assert entries[0] == {"text": "<|endoftext|>", "bytes": None}


def test_label_shows_white_space() -> None:
    assert label(" a\n\tb") == "·a⏎⇥b"


def test_tokenizer_hash_is_of_content() -> None:
    assert tokenizer_sha256(byte_level()) == tokenizer_sha256(byte_level())
    used = byte_level()
    used(["a", "bcd"], padding=True, truncation=True, max_length=2)
    assert tokenizer_sha256(used) == tokenizer_sha256(byte_level())
    extended = byte_level()
    extended.add_tokens(["<new>"])
    others = {tokenizer_sha256(t) for t in (extended, byte_level(400), byte_fallback(), Slow())}
    assert len(others | {tokenizer_sha256(used)}) == 5
    assert tokenizer_sha256(None) is None
