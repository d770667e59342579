"""Attributions as lines for a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from typer import style

from lens_core.cli.record_text import per_cent, text_of, token_of
from lens_core.cli.terminal import harmless, padded, width
from lens_core.tokens import label

_BAR = 16
"""Columns of the bar of the largest score."""
_TEXT = 24
_UNITS = {"log_p": "nats", "contrast": "logits", "kl": "nats", "flip": "1 where it changes"}


def attribution_report(record: Mapping[str, Any], *, columns: int) -> Iterator[str]:
    """The JSON record of an attribution as lines: what was asked, a bar a feature, the gap."""
    target = record["target"]
    said = " ".join(token_of(record, token) for token in target["ids"])
    against = "" if target["foil"] is None else f' rather than "{token_of(record, target["foil"])}"'
    yield style(f'{record["method"]}: what speaks for "{said}"{against}', bold=True)
    yield f"Prompt: {text_of(record, record['query'] + 1, columns - 8)}"
    for warning in record["warnings"]:
        yield f"Note: {harmless(warning)}"
    yield f"{record['score']} in {_UNITS[record['score']]}; {_options(record)}"
    texts = [harmless(label(feature["text"])) for feature in record["features"]]
    room = min(_TEXT, max(width(text) for text in texts))
    largest = max((abs(score) for score in record["scores"] if score is not None), default=0.0)
    for index, text in enumerate(texts):
        yield f"  {padded(text, room)} {_row(record, index, largest)}".rstrip()
    yield _gap(record)
    yield from _pairs(record, texts)


def _options(record: Mapping[str, Any]) -> str:
    said = []
    for name, value in record["params"].items():
        shown = value
        if name in ("replacement", "baseline") and isinstance(value, int):
            shown = f'"{token_of(record, value)}"'
        said.append(f"{name} {shown}")
    return ", ".join(said)


def _row(record: Mapping[str, Any], index: int, largest: float) -> str:
    """A score, its bar, and what else is known of the feature."""
    score, errors = record["scores"][index], record["standard_errors"]
    if score is None:
        return "-"
    length = round(_BAR * abs(score) / largest) if largest else 0
    bar = ("+" if score > 0 else "-") * length
    line = f"{score:+9.3f}  {bar:<{_BAR}}"
    if errors is not None and errors[index] is not None:
        line += f"  \u00b1 {errors[index]:.3f}"
    if record["flips"] is not None and record["flips"][index]:
        line += "  another next token without it"
    return line


def _gap(record: Mapping[str, Any]) -> str:
    gap = record["completeness_gap"]
    if gap["absolute"] is None:
        return f"Gap: not known, since nothing is left without these; {record['forwards']} rows"
    share = "" if gap["relative"] is None else f", {per_cent(gap['relative'])} of the whole change"
    return f"Gap of the sum: {gap['absolute']:+.3g}{share}; {record['forwards']} rows"


def _pairs(record: Mapping[str, Any], texts: list[str]) -> Iterator[str]:
    """The strongest interactions."""
    pairs = record["interactions"]
    if pairs is None:
        return
    found = [
        (value, texts[a], texts[b])
        for row, (a, values) in enumerate(zip(pairs["features"], pairs["values"], strict=True))
        for b, value in list(zip(pairs["features"], values, strict=True))[row + 1 :]
    ]
    yield "Together, beyond each alone:"
    for value, a, b in sorted(found, key=lambda one: -abs(one[0]))[:5]:
        yield f"  {value:+9.3f}  {a} and {b}"


def faithfulness_report(record: Mapping[str, Any]) -> Iterator[str]:
    """The JSON record of faithfulness as lines: a row a method, with the random ones beaten."""
    k, random = record["k"], record["random"]
    names = ("comprehensiveness", "sufficiency", "deletion_area")
    yield style(f"First {k} removed, first {k} alone, deletion curve (nats lost)", bold=True)
    room = max(len(one["name"]) for one in [*record["rankings"], {"name": "random"}])
    for one in record["rankings"]:
        cells = [f"{one[name]:8.2f} ({one['beaten'][name]:4.0%})" for name in names]
        yield f"  {one['name']:<{room}} {'  '.join(cells)}"
    means = [f"{sum(one[name] for one in random) / len(random):8.2f}" + " " * 7 for name in names]
    yield f"  {'random':<{room}} {'  '.join(means)}".rstrip()
    yield f"In brackets the share of {len(random)} random rankings that does worse."
