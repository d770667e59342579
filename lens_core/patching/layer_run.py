"""Operations on layers, measured on a corpus: what a model loses without a block."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from lens_core.errors import InputError
from lens_core.models import LoadedModel
from lens_core.patching.corpus import CorpusText, Scorer, read_texts
from lens_core.patching.exchange import prove_exchange
from lens_core.patching.layer_result import LayerOperations, LayerOperationsStep, TokenTable
from lens_core.patching.layer_scores import scores_of
from lens_core.patching.operations import Operation, operated, planned
from lens_core.patching.parts_of_speech import corpus_tags
from lens_core.patching.run import checked_batch
from lens_core.progress import tick
from lens_core.tokens import vocab_entries


def layer_operations(
    loaded: LoadedModel,
    texts: Sequence[Any],
    *,
    operations: Sequence[str | Operation] = ("remove", "exchange"),
    layers: Sequence[int] | None = None,
    max_tokens: int | None = None,
    batch_tokens: int | None = None,
    parts_of_speech: bool = True,
) -> LayerOperations:
    """The loss of every token of some texts, for the model as it is and under each operation.

    Args:
        loaded: the model.
        texts: texts or rows of token ids. One that cannot be scored (empty, one token, too long) is
            listed with the reason; none is cut, and none is left out for its loss.
        operations: remove, exchange (every layer with the next of the chosen ones), repeat,
            zero_attention, zero_mlp, skip_range (all from the first to the last of the chosen
            layers), or single `Operation`s.
        layers: on which layers; None for all.
        max_tokens: list longer texts as too long.
        batch_tokens: how many tokens may run at once.
        parts_of_speech: tag the words, where NLTK or spaCy is installed with what it needs.

    Raises:
        InputError: no text can be scored, or an argument outside its range.
        NotExactError: an operation that would not be exact in this model.
    """
    arguments = {name: value for name, value in locals().items() if name not in ("loaded", "texts")}
    for found in layer_operations_steps(loaded, texts, **arguments):
        if isinstance(found, LayerOperations):
            return found
    raise AssertionError("the last step is the result")


def layer_operations_steps(
    loaded: LoadedModel,
    texts: Sequence[Any],
    *,
    operations: Sequence[str | Operation] = ("remove", "exchange"),
    layers: Sequence[int] | None = None,
    max_tokens: int | None = None,
    batch_tokens: int | None = None,
    parts_of_speech: bool = True,
) -> Iterator[LayerOperationsStep | LayerOperations]:
    """`layer_operations` with how far it is after every batch; the last item is the result.

    The arguments are those of `layer_operations`. The edits that hold at the first step must hold
    to the last.

    Raises:
        InputError: no text can be scored, or an argument outside its range.
        NotExactError: an operation that would not be exact in this model.
    """
    started = time.perf_counter()
    plan = planned(loaded, operations, layers)
    checked_batch(batch_tokens)
    corpus, skipped = read_texts(loaded, texts, max_tokens=max_tokens)
    longest = max(corpus, key=lambda text: len(text.ids)).ids
    for operation in plan:
        if operation.kind == "exchange":
            prove_exchange(loaded, *operation.layers, ids=longest)
    run = _Run(loaded, corpus, (None, *plan), batch_tokens)
    yield from run.steps()
    tagger, tags = corpus_tags(loaded, corpus) if parts_of_speech else (None, None)
    table = run.table(tags)
    warnings = _warnings(skipped, run.nll)
    with loaded.lock:
        header = loaded.header(
            "layer_operations",
            timing={"total_s": time.perf_counter() - started},
            warnings=warnings,
        )
    header["input"] = {"texts": len(texts), "max_tokens": max_tokens, "tagger": tagger}
    known = {int(i) for text in corpus for i in text.ids} | set(np.unique(table.predicted).tolist())
    entries = vocab_entries(loaded.tokenizer, sorted(known))
    yield LayerOperations(
        header=header,
        vocab={str(token): entry for token, entry in entries.items()},
        texts=tuple({"index": t.index, "ids": t.ids.tolist(), "text": t.text} for t in corpus),
        skipped=skipped,
        scores=scores_of(plan, table, run.nll),
        tokens=table,
    )


class _Run:
    """All variants on all texts, one batch at a time."""

    def __init__(
        self,
        loaded: LoadedModel,
        corpus: Sequence[CorpusText],
        variants: Sequence[Operation | None],
        batch_tokens: int | None,
    ) -> None:
        self.loaded = loaded
        self.corpus = corpus
        self.variants = variants
        with loaded.lock:
            self._edits = loaded.active_edits
        self._scorer = Scorer(loaded, corpus, batch_tokens=batch_tokens)
        self.starts = np.cumsum([0, *(len(text.ids) - 1 for text in corpus)])
        shape = (len(variants), int(self.starts[-1]))
        self.nll: Float[np.ndarray, "variant target"] = np.zeros(shape)
        self.predicted = np.zeros(shape, dtype=np.int64)

    def steps(self) -> Iterator[LayerOperationsStep]:
        """One batch under one operation a step.

        Raises:
            InputError: the edits have changed in between.
        """
        groups = self._scorer.groups()
        total = len(self.variants) * len(self.corpus)
        done = 0
        for variant, operation in enumerate(self.variants):
            name = "original" if operation is None else operation.name
            for group in groups:
                self._measure(variant, operation, group)
                done += len(group)
                tick("row", done, total)
                yield LayerOperationsStep(done, total, name)

    def table(self, tags: tuple[str, ...] | None) -> TokenTable:
        """What was measured of every target."""
        return TokenTable(
            starts=self.starts,
            targets=np.concatenate([text.ids[1:].numpy() for text in self.corpus]),
            kinds=tuple(kind for text in self.corpus for kind in text.kinds),
            scripts=tuple(script for text in self.corpus for script in text.scripts),
            nll=self.nll.astype(np.float32),
            predicted=self.predicted,
            tags=tags,
        )

    def _measure(self, variant: int, operation: Operation | None, group: Sequence[int]) -> None:
        with self.loaded.lock:
            if self.loaded.active_edits != self._edits:
                raise InputError("The edits have changed since the first run; keep them for all.")
            with operated(self.loaded, operation):
                found = self._scorer.score(group)
        for index, (nll, predicted) in zip(group, found, strict=True):
            place = slice(int(self.starts[index]), int(self.starts[index + 1]))
            self.nll[variant, place] = nll
            self.predicted[variant, place] = predicted


def _warnings(skipped: Sequence[Any], nll: np.ndarray) -> list[str]:
    said = []
    if skipped:
        said.append(f"{len(skipped)} texts could not be scored; they are listed with the reason.")
    broken = int((~np.isfinite(nll)).any(1).sum())
    if broken:
        said.append(
            f"Under {broken} of the variants some losses are not finite numbers; neither are "
            "their means."
        )
    return said
