"""What operations on layers do to tokens of one part of speech.

The two files of llm-layer-exchange-analysis keep their keys. What differs on purpose: a perplexity
is exp of the mean loss, where the original took the mean of 1/p; "significant" is a paired test,
where it was a change of 10 %; and counts are of tokens of the corpus, not of tokens times layers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool, Float, Int

from lens_core.errors import InputError
from lens_core.patching.layer_scores import text_means
from lens_core.patching.original_export import place_of
from lens_core.records import plain

if TYPE_CHECKING:
    from lens_core.patching.layer_result import LayerOperations, TokenTable

LEAST_TOKENS = 10
"""A tag that occurs less often is left out."""
LEAST_TEXTS = 8
"""Fewer texts are no ground for calling a change significant."""
ALPHA = 0.05
LARGE = 0.5
"""A significant change of the perplexity by more than this share is large."""
START, OTHERS = "(start)", "OTHERS"
"""The first token of a text where it has no kind, and a token without a tag."""
_NOTES = {
    "parts_of_speech": "Parts of speech of whole sentences.",
    "token_kinds": "Kinds of tokens in place of parts of speech, which were not given: no tagger "
    "(NLTK with its data, or spaCy with a model) was used.",
}
_SIGNIFICANCE = (
    f"Paired t test of the mean loss of every text, {LEAST_TEXTS} texts or more; q by Benjamini "
    f"and Hochberg (1995) over all layers and tags is at most {ALPHA}. Large: the perplexity "
    f"changes by more than {LARGE:.0%}, too."
)


@dataclass(frozen=True)
class TokenTags:
    """A tag for every target, and for the token before it."""

    current: tuple[str, ...]
    following: tuple[str, ...]
    source: str
    """parts_of_speech or token_kinds."""


def token_tags(result: LayerOperations, pos: Sequence[Sequence[str]] | None) -> TokenTags:
    """The tags of all targets of the corpus, in its order.

    Args:
        result: layer operations with their tokens.
        pos: a tag for every token of every text that was scored; None takes the kinds of tokens.

    Raises:
        InputError: tags for other texts or tokens, or a record without its tokens.
    """
    table = tokens_of(result)
    if pos is None:
        bounds = zip(table.starts[:-1], table.starts[1:], strict=True)
        rows = [(START, *table.kinds[start:end]) for start, end in bounds]
        return _joined(rows, "token_kinds")
    lengths = [len(text["ids"]) for text in result.texts]
    if [len(tags) for tags in pos] != lengths:
        raise InputError(
            f"pos has tags for texts of {[len(tags) for tags in pos][:5]} tokens and more; the "
            f"texts that were scored have {lengths[:5]}. Give one tag for every token."
        )
    return _joined([[tag or OTHERS for tag in tags] for tags in pos], "parts_of_speech")


def tokens_of(result: LayerOperations) -> TokenTable:
    """The losses of all tokens.

    Raises:
        InputError: the record was written without them.
    """
    if result.tokens is None:
        raise InputError(
            "This record was written without the losses of its tokens; run again, or keep them "
            "with to_json(tokens=True)."
        )
    return result.tokens


def _joined(rows: Sequence[Sequence[str]], source: str) -> TokenTags:
    current = tuple(tag for row in rows for tag in row[:-1])
    return TokenTags(current, tuple(tag for row in rows for tag in row[1:]), source)


def variants_of(result: LayerOperations, kind: str) -> dict[str, int]:
    """The operations of one kind by their keys (layer_3, layer_0_with_1), with their variant."""
    found = [(at, score.operation) for at, score in enumerate(result.scores)]
    chosen = [(one.layers, at, one) for at, one in found if one is not None and one.kind == kind]
    return {place_of(one)[1]: at for _, at, one in sorted(chosen, key=lambda c: c[:2])}


def tag_analysis(result: LayerOperations, kind: str, tags: TokenTags) -> dict[str, Any]:
    """The content of `pos_tag_ppl_analysis.json` for one kind of operation, as plain values."""
    table, variants = tokens_of(result), variants_of(result, kind)
    counts = _frequent(tags.following)
    members = {name: np.array(tags.following) == name for name in counts}
    cells = {None: np.ones(len(tags.following), dtype=bool), **members}
    tests = {
        (key, name): _paired(table, variant, some)
        for key, variant in variants.items()
        for name, some in cells.items()
    }
    corrected = _corrected(tests)
    before = {name: perplexity(table.nll[0], some) for name, some in cells.items()}
    layers = {}
    for key, variant in variants.items():
        after = {name: perplexity(table.nll[variant], some) for name, some in cells.items()}
        rows = {name: {**tests[key, name], "q": corrected[key, name]} for name in cells}
        verdicts = {name: _verdict(rows[name], before[name], after[name]) for name in cells}
        layers[key] = {
            **_perplexities(after),
            "significant": {
                word: [name for name in counts if verdicts[name] == word]
                for word in ("improved", "degraded", "largely_improved", "largely_degraded")
            },
            "total_verdict": verdicts[None],
            "total_test": rows[None],
            "tests": {name: rows[name] for name in counts},
        }
    meta = {**_meta(result, kind, tags), "counts": counts, "significance": _SIGNIFICANCE}
    return plain({"meta": meta, "original": _perplexities(before), "layers": layers})


def transition_data(result: LayerOperations, kind: str, tags: TokenTags) -> dict[str, Any]:
    """The content of `pos_transition_data.json` for one kind of operation, as plain values."""
    table = tokens_of(result)
    current, following = _frequent(tags.current), _frequent(tags.following)
    kept, codes = _pair_codes(tags, list(current), list(following))
    shape = (len(current), len(following))
    counts = np.bincount(codes, minlength=shape[0] * shape[1])
    layers = {}
    for key, variant in {"original": 0, **variants_of(result, kind)}.items():
        losses = table.nll[variant][kept].astype(np.float64)
        sums = np.bincount(codes, losses, minlength=len(counts))
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            found = np.exp(sums / counts).reshape(shape)
        layers[key] = {
            "ppl_matrix": _named(found, current, following),
            "count_matrix": _named(counts.reshape(shape), current, following),
        }
    values = [
        value
        for layer in layers.values()
        for row in layer["ppl_matrix"].values()
        for value in row.values()
        if np.isfinite(value)
    ]
    # As in the original, so that a few large values do not hide the others.
    high = float(np.percentile(values, 95)) if values else 10.0
    meta = {
        **_meta(result, kind, tags),
        "current_pos_tags": list(current),
        "next_pos_tags": list(following),
        "pos_counts": {"current": dict(current), "next": dict(following)},
        "scale": {"vmin": 0.0, "vmax": high},
    }
    return plain({"meta": meta, "layers": layers})


def _pair_codes(
    tags: TokenTags, current: list[str], following: list[str]
) -> tuple[Bool[np.ndarray, " target"], Int[np.ndarray, " kept"]]:
    """Which targets have two frequent tags, and the cell of the matrix that each of them is in."""
    rows = {name: at for at, name in enumerate(current)}
    columns = {name: at for at, name in enumerate(following)}
    row = np.array([rows.get(tag, -1) for tag in tags.current])
    column = np.array([columns.get(tag, -1) for tag in tags.following])
    kept = (row >= 0) & (column >= 0)
    return kept, row[kept] * len(following) + column[kept]


def _named(
    cells: np.ndarray, current: Iterable[str], following: Iterable[str]
) -> dict[str, dict[str, Any]]:
    rows = [dict(zip(following, row, strict=True)) for row in cells.tolist()]
    return dict(zip(current, rows, strict=True))


def perplexity(nll: Float[np.ndarray, " target"], some: Bool[np.ndarray, " target"]) -> float:
    """Exp of the mean loss of some tokens."""
    with np.errstate(over="ignore"):
        return float(np.exp(nll[some].mean(dtype=np.float64)))


def _perplexities(found: Mapping[str | None, float]) -> dict[str, Any]:
    return {
        "total": found[None],
        "pos_tags": {name: value for name, value in found.items() if name is not None},
    }


def _frequent(tags: Sequence[str]) -> dict[str, int]:
    """Tags that occur often enough, the commonest first."""
    counts = sorted(Counter(tags).items(), key=lambda one: (-one[1], one[0]))
    return {name: count for name, count in counts if count >= LEAST_TOKENS}


def _meta(result: LayerOperations, kind: str, tags: TokenTags) -> dict[str, Any]:
    return {
        "experiment": kind,
        "model": result.header["model"]["id"],
        "texts": len(result.texts),
        "tokens": len(tags.following),
        "tags": tags.source,
        "tags_note": _NOTES[tags.source],
        "least_tokens": LEAST_TOKENS,
    }


def _paired(table: TokenTable, variant: int, some: Bool[np.ndarray, " target"]) -> dict[str, Any]:
    """The change of the mean loss over texts that have such tokens: how many, mean, p."""
    from scipy.stats import t

    gap = np.where(some, table.nll[variant].astype(np.float64) - table.nll[0], 0.0)
    lengths = np.diff(table.starts)
    share = text_means(some.astype(np.float64), table.starts)
    has = share > 0
    changes = (text_means(gap, table.starts) * lengths)[has] / (share * lengths)[has]
    count = len(changes)
    mean = float(changes.mean()) if count else float("nan")
    found = {"n_texts": count, "mean_change": mean, "p": float("nan")}
    if count < 2 or not np.isfinite(mean):
        return found
    error = float(changes.std(ddof=1)) / count**0.5
    if error == 0:
        return {**found, "p": float(mean == 0)}
    return {**found, "p": 2 * float(t.sf(abs(mean) / error, count - 1))}


def _corrected(tests: Mapping[Any, Mapping[str, Any]]) -> dict[Any, float]:
    """The share of false findings up to each test; NaN where there are too few texts."""
    from scipy.stats import false_discovery_control

    known = [
        key for key, one in tests.items() if one["n_texts"] >= LEAST_TEXTS and np.isfinite(one["p"])
    ]
    found = dict.fromkeys(tests, float("nan"))
    if known:
        values = false_discovery_control([tests[key]["p"] for key in known])
        found |= dict(zip(known, values.tolist(), strict=True))
    return found


def _verdict(test: Mapping[str, Any], before: float, after: float) -> str | None:
    """improved, degraded, largely_improved or largely_degraded; None for no finding."""
    if not test["q"] <= ALPHA:
        return None
    worse = test["mean_change"] > 0
    change = (after - before) / before
    large = change > LARGE if worse else change < -LARGE
    return ("largely_" if large else "") + ("degraded" if worse else "improved")
