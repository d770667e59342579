"""From documents to the rows of token ids that one training step learns from."""

import random
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from .documents import END_WEIGHT, RANDOM_WEIGHT, Document
from .mixture import GENERATORS, NOISE, Stage
from .tokenizer import special_ids

_HIDDEN = -1e9
_NOISE_START_ID = 258
"""The first id after the special tokens and the bytes; the last two are the think tokens."""


@dataclass(frozen=True)
class Encoded:
    """A document as ids, start and end token included, with a loss weight for each."""

    ids: list[int]
    weights: list[float]


@dataclass(frozen=True, eq=False)
class Batch:
    """Rows of packed documents that cannot see each other."""

    input_ids: Tensor
    """[row, position]"""
    weights: Tensor
    """[row, position]; the loss weight of predicting this token."""
    attention_mask: Tensor
    """[row, 1, query, key]; added to the scores: zero where a query may look."""


def encode(tokenizer: PreTrainedTokenizerFast, documents: list[Document]) -> list[Encoded]:
    """Each document, piece by piece, so that a question ends in the tokens of a typed prompt."""
    texts = [text for document in documents for text, _ in document.pieces]
    encodings = iter(tokenizer.backend_tokenizer.encode_batch(texts, add_special_tokens=False))
    start, end = special_ids(tokenizer)
    encoded = []
    for document in documents:
        ids, weights = [start], [0.0]
        for _, weight in document.pieces:
            tokens = next(encodings).ids
            ids += tokens
            weights += [weight] * len(tokens)
        encoded.append(Encoded([*ids, end], [*weights, END_WEIGHT]))
    return encoded


def noise(draw: random.Random, tokenizer: PreTrainedTokenizerFast, longest: int) -> Encoded:
    """Random distinct tokens, then the same again, two to four times."""
    length = draw.randint(3, longest)
    tokens = draw.sample(range(_NOISE_START_ID, len(tokenizer) - 2), length)
    times = draw.choice((2, 2, 3, 4)) if length < 12 else 2
    weights = [RANDOM_WEIGHT / 2] * (length + 1) + [1.0] * (length * times - length - 1)
    return Encoded([special_ids(tokenizer)[0], *tokens * times], [0.0, *weights])


def _draw_documents(
    draw: random.Random,
    tokenizer: PreTrainedTokenizerFast,
    shares: dict[str, float],
    *,
    tokens: int,
    longest: int,
) -> list[Encoded]:
    """About so many tokens of documents, split among the kinds by share."""
    total = sum(shares.values())
    drawn: list[Encoded] = []
    for kind, share in shares.items():
        left = tokens * share / total
        while left > 0:
            if kind == NOISE:
                some = [noise(draw, tokenizer, longest // 2 - 2)]
            else:
                some = encode(
                    tokenizer, [GENERATORS[kind](draw) for _ in range(int(left // 40) + 1)]
                )
            left -= sum(len(document.ids) for document in some)
            drawn.extend(some)
    draw.shuffle(drawn)
    return drawn


def _fill_rows(documents: list[Encoded], length: int) -> list[list[Encoded]]:
    """Documents put into the first row with room for them, the long ones first."""
    rows: list[list[Encoded]] = []
    room: list[int] = []
    for document in sorted(documents, key=lambda document: -len(document.ids)):
        size = min(len(document.ids), length)
        fitting = next((number for number, free in enumerate(room) if free >= size), None)
        if fitting is None:
            rows.append([])
            room.append(length)
            fitting = len(rows) - 1
        rows[fitting].append(document)
        room[fitting] -= size
    return rows


def make_batch(
    tokenizer: PreTrainedTokenizerFast,
    stage: Stage,
    *,
    seed: int,
    step: int,
    tokens: int,
    row: int,
    long: bool,
) -> Batch:
    """The rows of one step; the same arguments give the same rows."""
    draw = random.Random(f"{seed}/{step}")
    shares = stage.long if long else stage.short
    documents = _draw_documents(draw, tokenizer, shares, tokens=tokens, longest=row)
    rows = _fill_rows(documents, row)
    ids = torch.full((len(rows), row), special_ids(tokenizer)[1])
    weights = torch.zeros(len(rows), row)
    owner = torch.full((len(rows), row), -1)
    for number, packed in enumerate(rows):
        draw.shuffle(packed)
        at = 0
        for which, document in enumerate(packed):
            size = min(len(document.ids), row - at)
            ids[number, at : at + size] = torch.tensor(document.ids[:size])
            weights[number, at : at + size] = torch.tensor(document.weights[:size])
            owner[number, at : at + size] = which
            at += size
    visible = (owner[:, :, None] == owner[:, None, :]).tril()[:, None]
    mask = torch.zeros(visible.shape, dtype=torch.bfloat16).masked_fill(~visible, _HIDDEN)
    return Batch(ids, weights, mask)
