"""The next token as lines for a terminal, from the JSON record of a result."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from typer import style

from lens_core.cli.record_text import per_cent, piece, text_of, token_of
from lens_core.cli.terminal import harmless, padded, shortened

_TOKEN = 16
_BAR = 20
"""Columns of a token, and of the bar of 100 %."""


def next_token_report(record: Mapping[str, Any], *, columns: int) -> Iterator[str]:
    """The lines of a report: the steps taken, the most likely tokens, and the string.

    Args:
        record: `NextToken` as JSON, with "string", a `StringProbability` as JSON or None.
        columns: the width of the terminal.
    """
    model, position = record["model"], record["position"]
    yield f"{harmless(str(model['id']))}: {model['n_layers']} layers, {model['dtype']}"
    yield f"Prompt: {text_of(record, record['input']['n_prompt'], columns - 8)}"
    for warning in record["warnings"]:
        yield f"Note: {harmless(warning)}"
    if record["steps"]:
        yield ""
        yield from _steps(record, columns)
    yield ""
    name = piece(record["input"]["tokens"][position])
    heat = "" if record["temperature"] == 1 else f", temperature {record['temperature']:g}"
    yield style(f'After "{name}", position {position}{heat}', bold=True)
    yield from _tokens(record, columns)
    yield from _whole(record)
    if record["string"] is not None:
        yield ""
        yield from _string(record["string"], columns)


def _steps(record: Mapping[str, Any], columns: int) -> Iterator[str]:
    """What was appended, as likely as it was."""
    yield style("Appended", bold=True)
    yield f"{'step':>6}  {padded('token', _TOKEN)}{'p':>9}{'log p':>10}{'rank':>7}"
    for number, step in enumerate(record["steps"], 1):
        row = _row(record, step["id"], step["p"], step["log_p"], step["rank"])
        yield shortened(f"{number:>6}  {row}", columns)
    yield f"Text: {text_of(record, len(record['input']['ids']), columns - 6)}"


def _row(
    record: Mapping[str, Any], token: int, p: float | None, log_p: float | None, rank: int
) -> str:
    """A token with its probability, its logarithm and its rank from 1 on."""
    name = padded(token_of(record, token), _TOKEN)
    return f"{name}{per_cent(p):>9}{_number(log_p):>10}{rank + 1:>7}"


def _tokens(record: Mapping[str, Any], columns: int) -> Iterator[str]:
    top = record["top"]
    head = f"{'rank':>6}  {padded('token', _TOKEN)}{'p':>9}  {'':{_BAR}}{'log p':>9}{'logit':>9}"
    yield shortened(f"{head}{'together':>11}", columns)
    rows = zip(
        *(top[name] for name in ("rank", "ids", "p", "log_p", "logit", "cumulative")), strict=True
    )
    for rank, token, p, log_p, logit, together in rows:
        bar = "#" * round(_BAR * (p or 0.0))
        yield shortened(
            f"{rank + 1:>6}  {padded(token_of(record, token), _TOKEN)}{per_cent(p):>9}  "
            f"{bar:{_BAR}}{_number(log_p):>9}{_number(logit):>9}{per_cent(together):>11}",
            columns,
        )


def _whole(record: Mapping[str, Any]) -> Iterator[str]:
    """How sure the model is over all of its vocabulary."""
    nucleus, unused = record["nucleus"], record["unused"]
    entropy = f"{record['entropy_nats']:.3f} nats, {record['entropy_bits']:.3f} bits"
    tokens = "token" if nucleus["size"] == 1 else "tokens"
    yield f"Entropy {entropy}; {nucleus['size']:,} {tokens} hold {per_cent(nucleus['p'])}"
    if unused["ids"]:
        count = len(unused["ids"])
        yield f"Rows without a token: {count:,}, with {per_cent(unused['p'])} of the probability"


def _string(record: Mapping[str, Any], columns: int) -> Iterator[str]:
    """Every token of the string after those before it, and all of it."""
    tokens, start = record["tokens"], record["input"]["n_prompt"]
    text = "".join(token["text"] for token in record["input"]["tokens"][start:])
    yield style(f'Probability of "{shortened(harmless(text), 40)}" (temperature 1)', bold=True)
    yield f"{'':>6}  {padded('token', _TOKEN)}{'p':>9}{'log p':>10}{'rank':>7}  likelier there"
    names = ("ids", "log_p", "rank", "best_ids", "best_log_p")
    for at, values in enumerate(zip(*(tokens[name] for name in names), strict=True), 1):
        token, log_p, rank, best, best_log_p = values
        row = _row(record, token, _p(log_p), log_p, rank)
        better = f"  {token_of(record, best)} {per_cent(_p(best_log_p))}" if rank else ""
        yield shortened(f"{at:>6}  {row}{better}", columns)
    total = record["total"]
    p = total["p"]
    shown = per_cent(p) if p >= 1e-3 else f"{p:.2e}"
    yield f"{'':>6}  {padded('all', _TOKEN)}{shown:>9}{_number(total['log_p']):>10}"


def _p(log_p: float | None) -> float:
    """None is what JSON made of minus infinity."""
    return 0.0 if log_p is None else math.exp(log_p)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
