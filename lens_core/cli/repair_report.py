"""Repairs as lines for a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from lens_core.cli.terminal import harmless, padded, shortened, table, token_label, width
from lens_core.tokens import label

_TOKENS = 40
"""Most rows of the table of tokens."""
_NEURONS = 5
_WORST = 3
_COLUMNS = (
    ("method", "method", "{}"),
    ("exact", "greedy_exact", "{:.0%}"),
    ("paraphrase", "generalisation", "{:.0%}"),
    ("KL", "kl", "{:.4f}"),
    ("worst KL", "kl_max", "{:.3f}"),
    ("same", "same", "{:.1%}"),
    ("perplexity", "perplexity_ratio", "x{:.3f}"),
    ("columns", "columns", "{}"),
    ("passes", "backwards", "{}"),
    ("seconds", "seconds", "{:.2f}"),
    ("side effects", "light", "{}"),
)
_WORDS = {
    "already_correct": "The model says it already; nothing was changed.",
    "repaired": "Repaired: every target comes out greedily.",
    "partial": "Not repaired: some tokens more are said, not all.",
    "failed": "Not repaired: no token more is said.",
}


def repair_report(record: Mapping[str, Any], *, columns: int) -> Iterator[str]:
    """The JSON record of a repair as lines."""
    yield _WORDS[record["status"]]
    asked, least = record["options"]["margin"], min(t["after"]["margin"] for t in record["tokens"])
    if record["status"] == "repaired" and least < asked:
        yield f"The margin is {least:.2f}; the {asked:g} asked for was not reached."
    vocab = record["vocab"]
    for pair in record["pairs"]:
        if pair["view_of"] is None:
            yield ""
            yield from _pair(pair, vocab, columns)
    yield ""
    yield from _token_rows(record["tokens"], vocab)
    cost = record["cost"]
    yield ""
    yield (
        f"{cost['columns']} neurons in {cost['layers']} layers, {cost['bytes'] / 1e3:.0f} kB; "
        f"{cost['epochs']} updates, {cost['forwards']} passes forward and {cost['backwards']} "
        f"back, {cost['seconds']:.2f} s"
    )
    for neuron in record["neurons"][:_NEURONS]:
        was, now = (
            " ".join(token_label(vocab[str(token)]) for token in neuron[name])
            for name in ("promoted_before", "promotes")
        )
        place = f"layer {neuron['layer']} neuron {neuron['neuron']}"
        yield shortened(f"  {place}: promoted {was}; now {now}", columns)


def _pair(pair: Mapping[str, Any], vocab: Mapping[str, Any], columns: int) -> list[str]:
    texts = {
        "prompt": _shown(pair["prompt"], pair["prompt_ids"], vocab),
        "target": _shown(pair["target"], pair["target_ids"], vocab),
        "before": _shown(None, pair["before"]["greedy"], vocab),
        "after": _shown(None, pair["after"]["greedy"], vocab),
    }
    return [shortened(line, columns) for line in table(texts.items())]


def _shown(text: str | None, ids: Sequence[int], vocab: Mapping[str, Any]) -> str:
    if text is not None:
        return harmless(label(text))
    return " ".join(token_label(vocab[str(token)]) for token in ids)


def _token_rows(tokens: Sequence[Mapping[str, Any]], vocab: Mapping[str, Any]) -> Iterator[str]:
    rows = [("token", "said before", "p", "margin", "p now", "margin now")]
    for token in tokens[:_TOKENS]:
        before, after = token["before"], token["after"]
        rows.append(
            (
                token_label(vocab[str(token["target"])]),
                token_label(vocab[str(before["said"])]),
                f"{before['p']:.4f}",
                f"{before['margin']:.2f}",
                f"{after['p']:.4f}",
                f"{after['margin']:.2f}",
            )
        )
    yield from _lines(rows)
    if len(tokens) > _TOKENS:
        yield f"  and {len(tokens) - _TOKENS} more"


def evaluation_report(record: Mapping[str, Any], *, columns: int) -> Iterator[str]:
    """The JSON record of an evaluation as lines."""
    local, text = record["locality"], record["fluency"]
    found = record["generalisation"]
    yield f"Side effects: {record['light']}"
    yield from table(
        (
            ("other wordings", "none" if found is None else f"{found:.0%} say the target"),
            ("KL on probes", f"mean {local['kl']:.4f}, worst {local['kl_max']:.3f} nats"),
            ("same next token", f"{local['same']:.1%} of positions"),
            (
                "continuations",
                f"{local['changed_continuations']} of {len(local['probes'])} changed",
            ),
            ("perplexity", f"x{text['ratio']:.3f}"),
        )
    )
    for probe in local["probes"][:_WORST]:
        if probe["kl"] > 0:
            said = _shown(probe["text"], probe["ids"], record["vocab"])
            yield shortened(f"  {probe['kl']:.4f}  {said}", columns)


def comparison_report(record: Mapping[str, Any]) -> Iterator[str]:
    """The table of a comparison as lines."""
    rows = [tuple(name for name, _, _ in _COLUMNS)]
    for row in record["table"]:
        shown = dict(row)
        if row["lr"] is not None:
            shown["method"] = f"{row['method']} lr {row['lr']:g}"
        rows.append(
            tuple(
                "-" if shown[key] is None else form.format(shown[key]) for _, key, form in _COLUMNS
            )
        )
    yield from _lines(rows)


def _lines(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Rows in columns as wide as they need."""
    widths = [max(width(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        cells = [padded(cell, size) for cell, size in zip(row, widths, strict=True)]
        yield "  " + "  ".join(cells).rstrip()
