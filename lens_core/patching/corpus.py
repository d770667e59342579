"""Texts that a model is tested on: ids, batches of similar length, the loss of every token."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from lens_core.errors import InputError, LensError, PromptError
from lens_core.models import check_ids
from lens_core.network import run
from lens_core.patching.batches import rows_at_once
from lens_core.patching.token_classes import classes_of
from lens_core.self_check import relative_error
from lens_core.tokens import token_records

if TYPE_CHECKING:
    from lens_core.models import LoadedModel

_POSITIONS = 256
"""Rows of logits that are widened to float32 at a time."""


@dataclass(frozen=True, eq=False)
class CorpusText:
    """One text that is scored: every token but the first is a target."""

    index: int
    """Its place among the texts that were given."""
    ids: Int[Tensor, " position"]
    text: str
    kinds: tuple[str, ...]
    """Of its targets."""
    scripts: tuple[str, ...]


def read_texts(
    loaded: LoadedModel, texts: Sequence[Any], *, max_tokens: int | None
) -> tuple[tuple[CorpusText, ...], tuple[dict[str, Any], ...]]:
    """The texts that can be scored, and the others with the reason.

    Raises:
        InputError: no text can be scored.
    """
    if isinstance(texts, str) or not isinstance(texts, Sequence) or not len(texts):
        raise InputError(f"texts is {texts!r:.80}; give a list of texts or of rows of token ids.")
    found, bad = [], []
    for index, text in enumerate(texts):
        try:
            found.append(_read(loaded, index, text, max_tokens))
        except LensError as error:
            bad.append({"index": index, "reason": str(error)})
    if not found:
        raise InputError(
            f"None of the {len(texts)} texts can be scored; the first: {bad[0]['reason']}"
        )
    return tuple(found), tuple(bad)


def _read(loaded: LoadedModel, index: int, text: Any, max_tokens: int | None) -> CorpusText:
    if isinstance(text, str):
        ids = loaded.tokenize(text)
    else:
        try:
            # An empty row would be one of decimals.
            ids = torch.as_tensor(text, dtype=None if len(text) else torch.long)
        except (TypeError, ValueError, RuntimeError) as error:
            raise InputError(
                f"A text is a {type(text).__name__} ({error}); give text or token ids."
            ) from error
    ids = check_ids(loaded, ids, max_tokens=max_tokens)
    if len(ids) < 2:
        raise PromptError("The text has 1 token, and the first one is never predicted; give 2.")
    records = token_records(loaded.tokenizer, ids.tolist())
    shown = text if isinstance(text, str) else "".join(record["text"] for record in records)
    # Without a tokenizer the texts are the ids, which say nothing of the kind of token.
    classes = classes_of(records) if loaded.tokenizer is not None else [("other", "")] * len(ids)
    kinds, scripts = zip(*classes[1:], strict=True)
    return CorpusText(index, ids, shown, kinds, scripts)


class Scorer:
    """Runs the texts in batches, padded at their right end, which no earlier token can see."""

    def __init__(
        self, loaded: LoadedModel, texts: Sequence[CorpusText], *, batch_tokens: int | None
    ) -> None:
        self.loaded = loaded
        self.texts = texts
        self.batch_tokens = batch_tokens
        self._single = False

    def groups(self) -> list[list[int]]:
        """Which texts run together, by their places; proved on the first batch of several.

        Where a model gives another answer in a batch, all texts run alone.
        """
        found = list(self._groups())
        mixed = next((group for group in found if len(group) > 1), None)
        if mixed is not None and not self._exact(mixed):
            self._single = True
            return [[index] for group in found for index in group]
        return found

    def _groups(self) -> Iterator[list[int]]:
        lengths = [len(text.ids) for text in self.texts]
        group: list[int] = []
        for index in sorted(range(len(lengths)), key=lambda i: lengths[i]):
            size = rows_at_once(
                self.loaded, lengths[index], n_read=lengths[index], batch_tokens=self.batch_tokens
            )
            if group and len(group) >= size:
                yield group
                group = []
            group.append(index)
        if group:
            yield group

    def _exact(self, group: Sequence[int]) -> bool:
        """Whether the shortest text of a batch, the one with most padding, is as it is alone."""
        first = group[0]
        with self.loaded.lock:
            together = self._logits(group)[0, : len(self.texts[first].ids)]
            alone = self._logits([first])[0]
        return relative_error(together, alone) <= self.loaded.self_check.bound

    def score(
        self, group: Sequence[int]
    ) -> list[tuple[Float[np.ndarray, " target"], Int[np.ndarray, " target"]]]:
        """Loss (nats) and predicted id of every target of some texts; the caller holds the lock."""
        logits = self._logits(group)
        return [_scored(logits[row], self.texts[i].ids) for row, i in enumerate(group)]

    def _logits(self, group: Sequence[int]) -> Float[Tensor, "row position d_vocab"]:
        rows = [self.texts[index].ids for index in group]
        longest = max(len(row) for row in rows)
        # Padded with a token of the text: some families treat the padding token in another way.
        padded = [torch.cat([row, row[-1:].expand(longest - len(row))]) for row in rows]
        return run(self.loaded.model, torch.stack(padded)).logits


def _scored(
    logits: Float[Tensor, "padded d_vocab"], ids: Int[Tensor, " position"]
) -> tuple[Float[np.ndarray, " target"], Int[np.ndarray, " target"]]:
    """The last token has no target, and its logits are left out."""
    nll, predicted = [], []
    targets = ids[1:].to(logits.device)
    for start in range(0, len(targets), _POSITIONS):
        part = targets[start : start + _POSITIONS]
        rows = logits[start : start + len(part)].float()
        chosen = rows.gather(1, part[:, None])[:, 0]
        nll.append(rows.logsumexp(1) - chosen)
        predicted.append(rows.argmax(1))
    return torch.cat(nll).double().cpu().numpy(), torch.cat(predicted).cpu().numpy()
