"""The JSON of llm-layer-exchange-analysis (`ppl.json`), by its own keys.

Two things differ from it on purpose: nothing is clipped, and a text whose perplexity is very high
stays in the mean, where a destroyed layer would otherwise look better. And the last token of a
text, which has no next one, is no error. Operations that it does not have are under keys of the
same kind.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from lens_core.errors import InputError
from lens_core.patching.operations import Operation
from lens_core.records import plain

if TYPE_CHECKING:
    from lens_core.patching.layer_result import LayerOperations, TokenTable

_GROUPS = {
    "remove": ("removed", "layer_{}"),
    "exchange": ("exchanged", "layer_{}_with_{}"),
    "repeat": ("repeated", "layer_{}"),
    "zero_attention": ("without_attention", "layer_{}"),
    "zero_mlp": ("without_mlp", "layer_{}"),
    "skip_range": ("skipped", "layer_{}_to_{}"),
}


def original_export(result: LayerOperations) -> dict[str, Any]:
    """`original`, `removed.layer_i`, `exchanged.layer_i_with_j` and so on.

    Raises:
        InputError: the tokens were left out of the record.
    """
    if result.tokens is None:
        raise InputError(
            "This record was written without the losses of its tokens, which the export lists; run "
            "again, or keep them with to_json(tokens=True)."
        )
    found: dict[str, Any] = {}
    for variant, score in enumerate(result.scores):
        values = _variant(result, result.tokens, variant)
        if score.operation is None:
            found["original"] = values
        else:
            group, name = place_of(score.operation)
            found.setdefault(group, {})[name] = values
    return plain(found)


def place_of(operation: Operation) -> tuple[str, str]:
    """The two keys under which an operation stands."""
    group, name = _GROUPS[operation.kind]
    return group, name.format(*operation.layers)


def _variant(result: LayerOperations, table: TokenTable, variant: int) -> dict[str, Any]:
    texts, tokens, perplexities = {}, {}, []
    for number, text in enumerate(result.texts):
        part = slice(int(table.starts[number]), int(table.starts[number + 1]))
        nll, predicted = table.nll[variant, part], table.predicted[variant, part]
        right = predicted == table.targets[part]
        perplexities.append(_exp(nll.mean(dtype=np.float64)))
        key = f"sample_{text['index']}"
        texts[key] = {
            "original_text": text["text"],
            "avg_ppl": perplexities[-1],
            "accuracy": float(right.mean()),
            "correct_predictions": int(right.sum()),
            "total_predictions": len(right),
        }
        tokens[key] = {
            f"token_{place}": {
                "current_token": _text(result, text["ids"][place]),
                "actual_next_token": _text(result, text["ids"][place + 1]),
                "predicted_next_token": _text(result, predicted[place]),
                "is_correct": bool(right[place]),
                "ppl": _exp(nll[place]),
            }
            for place in range(len(right))
        }
    return {
        "avg_ppl": float(np.mean(perplexities)),
        "text_level_results": texts,
        "token_level_results": tokens,
    }


def _exp(value: Any) -> float:
    with np.errstate(over="ignore"):
        return float(np.exp(np.float64(value)))


def _text(result: LayerOperations, token: Any) -> str:
    return result.vocab[str(int(token))]["text"]
