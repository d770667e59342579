"""Importance over an API as lines for a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from lens_core.cli.terminal import harmless, padded, shortened, width
from lens_core.tokens import label

_BAR = 20
_TEXT = 28
"""Most columns of a part of the prompt."""
_SCORES = {
    "log_p": "nats that the answer loses",
    "log_p_first": "nats that the answer's first token loses",
    "edit": "share of the answer's words that change",
    "exact": "1 where the answer changes",
    "chrf": "1 - chrF of the answers",
    "embedding": "1 - cosine of the answers' embeddings",
}


def estimate_line(estimate: Mapping[str, Any]) -> str:
    """What a run would send."""
    return (
        f"Up to {estimate['requests']} requests, about {estimate['prompt_tokens']:,} prompt "
        f"tokens: {estimate['features']} parts are masked."
    )


def remote_report(record: Mapping[str, Any], *, columns: int) -> Iterator[str]:
    """The JSON record of an importance as lines."""
    answer, method = record["answer"], record["method"]
    yield shortened(f"Answer: {_shown(answer['text'])}", columns)
    yield f"Tier {record['tier']}; importance: {_SCORES[method['score']]}."
    sharing = record.get("sharing")
    yield _noise(record["noise"], alone=sharing is None)
    if sharing is not None:
        yield _shared(sharing, record["features"])
    for warning in record["warnings"]:
        yield f"Note: {harmless(warning)}"
    yield ""
    features = record["features"]
    texts = [("  " if one["parent"] is not None else "") + _shown(one["text"]) for one in features]
    wide = min(_TEXT, max(map(width, texts)))
    most = max((abs(one["importance"]) for one in features), default=0.0)
    for one, text in zip(features, texts, strict=True):
        yield shortened(_row(one, padded(text, wide), most), columns).rstrip()
    yield ""
    usage = record["usage"].get("prompt_tokens")
    counted = "" if usage is None else f", {usage:,} prompt tokens as the API counts"
    yield f"{record['requests']} requests sent, {record['cached']} answers from before{counted}."


def _row(one: Mapping[str, Any], text: str, most: float) -> str:
    star = "*" if one["above_noise"] else " "
    least = "\u2265" if one["high"] is None else " "
    size = round(_BAR * abs(one["importance"]) / most) if most > 0 else 0
    bar = padded(("-" if one["importance"] < 0 else "#") * size, _BAR)
    said = "" if one["answer"] is None or not one["flip"] else f"  {_shown(one['answer'])}"
    if one["answer"] is None and one["flip"]:
        said = "  another answer is likelier"
    return f"{star} {text}  {least}{one['importance']:8.3f}  {bar}{said}"


def _noise(noise: Mapping[str, Any], *, alone: bool) -> str:
    """What the prompt changes when it is asked again; the chance holds for parts masked alone."""
    if not noise["n"]:
        return "Noise: not measured."
    said = f"Noise: up to {noise['max']:.3f} in {noise['n']} repetitions"
    if not alone:
        return f"{said}."
    return f"{said}; {noise['chance']:.0%} of parts without any effect exceed that by chance."


def _shared(sharing: Mapping[str, Any], features: Sequence[Mapping[str, Any]]) -> str:
    """How the parts share what the prompt without any of them changes."""
    change = sharing["value"] - sharing["baseline_value"]
    if sharing["orders"] is None:
        return f"Shapley values, exact over {sharing['sets']} sets; they sum to {change:.3f}."
    said = f"Shapley values of {sharing['orders']} orders; they sum to {change:.3f}"
    errors = [one["standard_error"] for one in features if one["standard_error"] is not None]
    return f"{said}, standard error up to {max(errors):.3f}." if errors else f"{said}."


def _shown(text: str) -> str:
    return harmless(label(text))
