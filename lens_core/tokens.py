"""Token ids as a person reads them: exact texts, clusters of byte tokens, visible spaces.

Decoding one id at a time is wrong: a Chinese character is often split over several byte tokens and
decodes to U+FFFD, and SentencePiece loses leading spaces. Here every id is first turned into its
bytes, and an incremental UTF-8 decoder walks over them; a *cluster* is the shortest run of tokens
that ends where a character ends.

Joining the `text` of all records gives the decoded text, and so does joining one `cluster_text` per
cluster; a byte-level tokenizer gives the input back exactly. A tokenizer that normalises its input
or puts a space before it shows what it made of it.
"""

from __future__ import annotations

import base64
import codecs
import hashlib
import json
import re
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_BYTE_TOKEN = re.compile(r"<0x([0-9A-Fa-f]{2})>")
_VISIBLE = str.maketrans({" ": "·", "\n": "⏎", "\t": "⇥"})


def label(text: str) -> str:
    """`text` with visible white space, for labels only: space `·`, newline `⏎`, tab `⇥`."""
    return text.translate(_VISIBLE)


def token_records(
    tokenizer: PreTrainedTokenizerBase | None, ids: Iterable[int]
) -> list[dict[str, Any]]:
    """One record per id, with the fields of every view that shows tokens.

    `i` and `id`; `piece` (the tokenizer's own string); `bytes_hex` such as "E6 88", None for added
    tokens; `text`, the characters that this token completes; `cluster` (a running number) and
    `cluster_text`; `kind`: "special", "pad", "partial" (not whole characters by itself), "space"
    or "normal"; `char_start`, `char_end` of the cluster in the joined text (special tokens take
    up room in it, but have None themselves). Without a tokenizer the texts are the ids.
    """
    ids = [int(token) for token in ids]
    if tokenizer is None:
        return [_bare_record(i, token) for i, token in enumerate(ids)]
    reader = _Reader(tokenizer)
    records = [reader.record(i, token) for i, token in enumerate(ids)]
    position = 0
    for number, cluster in enumerate(_clusters(records, reader)):
        position = _close(cluster, number, position)
    return records


def tokenizer_facts(
    tokenizer: PreTrainedTokenizerBase | None, n_rows: int
) -> dict[str, Any] | None:
    """What a tokenizer is; None without one.

    `class`; `length`, its tokens with added ones; `vocab_size`, those without; `special`, how many
    ids are special; `rows` of the model's vocabulary.
    """
    if tokenizer is None:
        return None
    return {
        "class": type(tokenizer).__name__,
        "length": len(tokenizer),
        "vocab_size": tokenizer.vocab_size,
        "special": len(set(tokenizer.all_special_ids)),
        "rows": n_rows,
    }


def vocab_entry(tokenizer: PreTrainedTokenizerBase | None, token: int) -> dict[str, Any]:
    """One vocabulary entry: `text` (U+FFFD where bytes are no characters) and base64 `bytes`.

    `bytes` is None for special and other added tokens, and where there is no tokenizer.
    """
    return vocab_entries(tokenizer, [token])[int(token)]


def vocab_entries(
    tokenizer: PreTrainedTokenizerBase | None, ids: Iterable[int]
) -> dict[int, dict[str, Any]]:
    """`vocab_entry` for many ids, each read once."""
    distinct = dict.fromkeys(int(token) for token in ids)
    if tokenizer is None:
        return {token: {"text": str(token), "bytes": None} for token in distinct}
    reader = _Reader(tokenizer)
    return {token: reader.entry(token) for token in distinct}


def tokenizer_sha256(tokenizer: PreTrainedTokenizerBase | None) -> str | None:
    """SHA-256 of what decides how text becomes ids: vocabulary, merges, rules, added tokens."""
    if tokenizer is None:
        return None
    digest = hashlib.sha256(type(tokenizer).__name__.encode())
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        digest.update(json.dumps(sorted(tokenizer.get_vocab().items())).encode())
    else:
        # Not to_str(): it also holds the padding and truncation of the latest call.
        for part in ("model", "normalizer", "pre_tokenizer", "post_processor", "decoder"):
            digest.update(part.encode() + _state(getattr(backend, part)))
    for token, added in sorted(_added_tokens(tokenizer).items()):
        digest.update(f"{token} {added!r}\n".encode())
    return digest.hexdigest()


class _Reader:
    """What one tokenizer knows about its ids."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self.tokenizer = tokenizer
        self.added = _added_tokens(tokenizer)
        self.special = set(tokenizer.all_special_ids)
        self.special |= {token for token, added in self.added.items() if added.special}
        self.pad = _pad_id(tokenizer)
        self.char_to_byte = _char_to_byte() if _is_byte_level(tokenizer) else None
        self.word_end = _word_end(tokenizer)

    def literal(self, token: int) -> str | None:
        """The text of a special or other added token, None for a token made of bytes."""
        if token in self.added:
            return self.added[token].content
        if token in self.special or self.piece(token) is None:
            return str(self.piece(token) or f"<id {token}>")
        return None

    def piece(self, token: int) -> str | bytes | None:
        """The tokenizer's own string; None for a row of the model that has no token."""
        try:
            piece: Any = self.tokenizer.convert_ids_to_tokens(token)
        except (IndexError, KeyError, OverflowError):  # what slow tokenizers do outside their range
            return None
        return piece

    def raw(self, token: int) -> bytes:
        """The UTF-8 bytes, perhaps of a part of a character, that the token stands for."""
        piece = self.piece(token)
        if isinstance(piece, bytes):
            return piece
        assert piece is not None
        if self.char_to_byte is not None:
            found = [self.char_to_byte.get(char) for char in piece]
            # As the tokenizers library does: a piece with other characters stands for itself.
            return piece.encode() if None in found else bytes(b for b in found if b is not None)
        if match := _BYTE_TOKEN.fullmatch(piece):
            return bytes([int(match[1], 16)])
        if self.word_end and piece.endswith(self.word_end):
            piece = piece.removesuffix(self.word_end) + " "
        return piece.replace("▁", " ").encode()

    def kind(self, token: int) -> str:
        """Control tokens are "special" or "pad"; the rest "normal", which clusters refine."""
        if token == self.pad:
            return "pad"
        missing = token not in self.added and self.piece(token) is None
        return "special" if token in self.special or missing else "normal"

    def record(self, i: int, token: int) -> dict[str, Any]:
        """The record of one token before clusters are formed."""
        literal = self.literal(token)
        piece = self.piece(token) or ""
        return {
            "i": i,
            "id": token,
            "piece": piece.decode("latin-1") if isinstance(piece, bytes) else piece,
            "bytes_hex": None if literal is not None else self.raw(token).hex(" ").upper(),
            "text": literal or "",
            "cluster": i,
            "cluster_text": "",
            "kind": self.kind(token),
            "char_start": None,
            "char_end": None,
        }

    def entry(self, token: int) -> dict[str, Any]:
        """The vocabulary entry of one token."""
        literal = self.literal(token)
        if literal is not None:
            return {"text": literal, "bytes": None}
        raw = self.raw(token)
        text = raw.decode("utf-8", errors="replace")
        return {"text": text, "bytes": base64.b64encode(raw).decode("ascii")}


def _clusters(records: list[dict[str, Any]], reader: _Reader) -> Iterator[list[dict[str, Any]]]:
    """Runs of records that end where a character ends, with each record's `text` filled in."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    cluster: list[dict[str, Any]] = []
    for record in records:
        if record["bytes_hex"] is None:
            if cluster:  # characters cut off by an added token
                cluster[-1]["text"] += decoder.decode(b"", final=True)
                yield cluster
            cluster = []
            yield [record]
            continue
        cluster.append(record)
        # "replace" turns invalid bytes into U+FFFD at once and keeps merely incomplete ones.
        record["text"] = decoder.decode(reader.raw(record["id"]))
        if not decoder.getstate()[0]:
            yield cluster
            cluster = []
    if cluster:
        cluster[-1]["text"] += decoder.decode(b"", final=True)
        yield cluster


def _close(cluster: list[dict[str, Any]], number: int, start: int) -> int:
    """Write what the whole cluster decides into its records; the position after it."""
    text = "".join(record["text"] for record in cluster)
    end = start + len(text)
    for record in cluster:
        record["cluster"] = number
        record["cluster_text"] = text
        if record["kind"] not in ("special", "pad"):
            record["char_start"], record["char_end"] = start, end
            record["kind"] = _text_kind(cluster, text)
    return end


def _text_kind(cluster: list[dict[str, Any]], text: str) -> str:
    alone = cluster[0]["bytes_hex"]
    whole = alone is None or bytes.fromhex(alone) == text.encode()
    if len(cluster) > 1 or not whole:
        return "partial"
    return "space" if text.isspace() else "normal"


def _bare_record(i: int, token: int) -> dict[str, Any]:
    return {
        "i": i,
        "id": token,
        "piece": str(token),
        "bytes_hex": None,
        "text": str(token),
        "cluster": i,
        "cluster_text": str(token),
        "kind": "normal",
        "char_start": None,
        "char_end": None,
    }


def _added_tokens(tokenizer: PreTrainedTokenizerBase) -> dict[int, Any]:
    """Added tokens by id, special or not."""
    try:
        return tokenizer.added_tokens_decoder  # pyright: ignore[reportAttributeAccessIssue]
    except NotImplementedError:  # Mistral's own backend knows special ids only
        return {}


def _pad_id(tokenizer: PreTrainedTokenizerBase) -> int | None:
    """The padding id, unless it also ends, starts or replaces text."""
    others = (tokenizer.eos_token_id, tokenizer.bos_token_id, tokenizer.unk_token_id)
    pad: Any = tokenizer.pad_token_id
    return None if pad in others else pad


def _state(part: Any) -> bytes:
    """The JSON of one part of a fast tokenizer, without the rest (a vocabulary is megabytes)."""
    return b"null" if part is None else part.__getstate__()


def _is_byte_level(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether pieces are spelled in GPT-2's 256 printable characters."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        return isinstance(getattr(tokenizer, "byte_decoder", None), dict)
    parts = (backend.decoder, backend.pre_tokenizer, backend.normalizer)
    return any(b'"type":"ByteLevel"' in _state(part) for part in parts)


def _word_end(tokenizer: PreTrainedTokenizerBase) -> str | None:
    """The mark that closes a word in plain BPE such as the first GPT's `</w>`."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    state = json.loads(_state(backend.decoder if backend is not None else None)) or {}
    return state.get("suffix") if state.get("type") == "BPEDecoder" else None


def _char_to_byte() -> dict[str, int]:
    """The inverse of GPT-2's table: printable Latin-1 as it is, the other bytes from U+0100 on."""
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    rest = [byte for byte in range(256) if byte not in plain]
    table = {chr(byte): byte for byte in plain}
    return table | {chr(0x100 + n): byte for n, byte in enumerate(rest)}
