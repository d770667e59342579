"""Values of the heat map for its tests: of a lens, an edit, attention, long and hostile prompts."""

from __future__ import annotations

import base64
import math
from collections.abc import Callable
from typing import Any

WORDS = [
    " Paris",
    " capital",
    "The",
    " of",
    " called",
    " Vientiane",
    " France",
    " is",
    "\n",
    "首都",
]
HOSTILE = [
    "<img src=x onerror=\"document.body.dataset.pwned='img'\">",
    "</script><script>document.body.dataset.pwned='script'</script>",
    "${HOME} `ls` ${document.body.setAttribute('data-pwned', 'template')}",
    "{{value}} {row} {token}",
    "שלום \u202eevil\u202c",
    "a\u200bb\u2060c\ufeff\u00ad",
    "\u2028\u0000\u0007bell",
    "</style><svg onload='document.body.dataset.pwned=1'>",
]


def record(text: str, position: int) -> dict[str, Any]:
    """The record of a token of the prompt."""
    return {
        "i": position,
        "id": position,
        "piece": text,
        "bytes_hex": text.encode().hex(" ").upper(),
        "text": text,
        "cluster": position,
        "cluster_text": text,
        "kind": "normal",
    }


def entry(text: str) -> dict[str, Any]:
    """A vocabulary entry."""
    return {"text": text, "bytes": base64.b64encode(text.encode()).decode()}


def table(rows: int, columns: int, cell: Callable[[int, int], Any]) -> list[list[Any]]:
    """What `cell` says of every row and column."""
    return [[cell(r, c) for c in range(columns)] for r in range(rows)]


def wave(r: int, c: int) -> float:
    """A value in 0..1 that differs from cell to cell."""
    return 0.5 + 0.5 * math.sin(1.7 * r + 2.3 * c + 0.3 * r * c)


def lens(rows: int = 7, texts: list[str] | None = None, **changes: Any) -> dict[str, Any]:
    """A heat map as the logit lens makes it: a token in every cell, five quantities."""
    texts = texts or ["⟨start⟩", "The", " capital", " of", " France", " is"]
    columns = len(texts)
    vocab = [*WORDS, *HOSTILE]

    def token(r: int, c: int) -> int:
        return (3 * r + c) % len(WORDS)

    def quantity(key: str, scale: str, form: str, high: float, value: Callable) -> dict[str, Any]:
        values = table(rows, columns, value)
        return {
            **{"key": key, "label": key.title(), "title": f"{key.title()} of the top token"},
            **{"scale": scale, "format": form, "low": 0.0, "high": high, "values": values},
        }

    def top(r: int, c: int) -> list[int]:
        return [(token(r, c) + k) % len(WORDS) for k in range(5)]

    return {
        "state": "done",
        "name": "logit-lens",
        "title": "What the model would say at each layer",
        "rows": [
            {"label": f"L{r}", "title": f"Layer {r}"}
            if r >= 0
            else {"label": "embed", "title": "e"}
            for r in range(rows - 2, -2, -1)
        ],
        "columns": [{"token": record(text, i), "position": i} for i, text in enumerate(texts)],
        "vocab": {str(i): entry(text) for i, text in enumerate(vocab)},
        "tokens": table(rows, columns, token),
        "quantities": [
            quantity("probability", "probability", "percent", 1.0, wave),
            quantity("entropy", "amount", "number", 4.0, lambda r, c: 4 * wave(c, r)),
            quantity("rank", "probability", "rank", 4096, lambda r, c: int(4096 ** wave(r, c)) - 1),
            quantity("added", "signed", "signed", 3.0, lambda r, c: 6 * wave(r, c) - 3),
            quantity("looked", "amount", "percent", 0.4, lambda r, c: 0.4 * wave(r, c)),
        ],
        "quantity": "probability",
        "top": {
            "ids": table(rows, columns, top),
            "values": table(rows, columns, lambda r, c: [wave(r, c) / 2**k for k in range(5)]),
            "format": "percent",
        },
        "bottom": None,
        "facts": [
            {
                **{"label": "Entropy", "unit": "nats", "format": "number"},
                "values": table(rows, columns, lambda r, c: 4 * wave(c, r)),
            },
            {
                **{"label": "Final token, rank here", "unit": None, "format": "rank"},
                "values": table(rows, columns, lambda r, c: r),
            },
        ],
        "card": None,
        "changed": None,
        "other": None,
        "other_values": None,
        "selected": None,
        "notes": [
            "Settled from L4: the top token stays the same",
            "embed = before the first layer",
        ],
        "earlier": 0,
        "later": 0,
        **changes,
    }


def edited() -> dict[str, Any]:
    """An edit changed the top token of two cells; logits added, raised and lowered."""
    changed = table(7, 6, lambda r, c: int((r, c) in {(0, 5), (1, 4)}))
    value = lens(changed=changed, other=table(7, 6, lambda r, c: 5), quantity="added")
    value["other_values"] = table(7, 6, lambda r, c: -1.25)
    value["top"]["format"] = "signed"
    lowered = table(7, 6, lambda r, c: [-0.9, -0.4])
    value["bottom"] = {
        "ids": table(7, 6, lambda r, c: [8, 9]),
        "values": lowered,
        "format": "signed",
    }
    return value


def attention(n: int = 12, **changes: Any) -> dict[str, Any]:
    """Causal attention: no tokens in the cells, and none at all above the diagonal."""

    def looks(r: int, c: int) -> float | None:
        return wave(r, c) / 2 if c <= r else None

    return lens(
        n,
        [f" t{i}" for i in range(n)],
        name="attention",
        tokens=table(n, n, lambda r, c: None),
        quantities=[
            {
                **{"key": "attention", "label": "Attention", "title": "Attention", "low": 0.0},
                **{"scale": "amount", "format": "percent", "high": 0.5},
                "values": table(n, n, looks),
            }
        ],
        quantity="attention",
        top=None,
        facts=[],
        notes=[],
        **changes,
    )


def heads() -> dict[str, Any]:
    """Layers and heads: labels instead of tokens on both axes."""
    value = attention(24)
    value["columns"] = [{"label": f"H{c}"} for c in range(14)]
    value["tokens"] = table(24, 14, lambda r, c: None)
    value["quantities"][0]["values"] = table(24, 14, lambda r, c: wave(r, c) / 2)
    return value


def difference() -> dict[str, Any]:
    """Signed shares with numbers only, as causal tracing gives them."""
    value = attention(6)
    traced = table(6, 6, lambda r, c: 1 - 2 * wave(r, c) if c > 2 else 0.0)
    restored = {"key": "restored", "label": "Restored", "title": "Answer restored", "low": -1.0}
    value["quantities"] = [
        {**restored, "scale": "signed", "format": "percent", "high": 1.0, "values": traced}
    ]
    return {**value, "quantity": "restored", "selected": [3, 4]}


def long_texts(n: int) -> list[str]:
    return [WORDS[i % len(WORDS)] for i in range(n)]


CASES: dict[str, Callable[[], dict[str, Any]]] = {
    "lens": lens,
    "selected": lambda: lens(selected=[2, 5]),
    "edited": edited,
    "attention": attention,
    "heads": heads,
    "difference": difference,
    "hostile": lambda: lens(
        3,
        HOSTILE,
        title=HOSTILE[0],
        notes=HOSTILE[:4],
        tokens=table(3, len(HOSTILE), lambda r, c: len(WORDS) + c),
    ),
    "long": lambda: lens(32, long_texts(64), earlier=960, later=40),
    "huge": lambda: lens(32, long_texts(512)),
    "canvas": lambda: lens(7, long_texts(480)),
    "pattern": lambda: attention(128),
    "empty": lambda: {
        "state": "empty",
        "examples": ["The capital of France is", "7 + 5 =", "法国的首都是", HOSTILE[0]],
    },
}
