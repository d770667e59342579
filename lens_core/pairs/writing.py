"""Pairs to a file: one JSON object a line, or the original's nested JSON."""

from __future__ import annotations

import gzip
from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from lens_core.errors import InputError
from lens_core.pairs.record import Pair
from lens_core.records import dumps


def jsonl(pairs: Iterable[Pair]) -> str:
    """One JSON object a line, which `read_pairs` gives back as it was."""
    return "".join(dumps(pair.to_json()) + "\n" for pair in pairs)


def write_pairs(pairs: Iterable[Pair], path: str | Path) -> Path:
    """Write `jsonl` to a file, gzipped when its name ends in .gz.

    Raises:
        InputError: it cannot be written.
    """
    return _written(jsonl(pairs), Path(path))


def original_json(
    pairs: Iterable[Pair], *, metadata: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """The original's nested form, without loss for the sentences, types and subtypes.

    Args:
        pairs: in any order; those of one subtype keep theirs.
        metadata: what a file that was read said of itself; None says it of this program.
    """
    types: dict[str, dict[str, dict[str, list[dict[str, str]]]]] = {}
    counts: Counter[tuple[str, str]] = Counter()
    for pair in pairs:
        subtype = types.setdefault(pair.type, {}).setdefault(pair.subtype, {"sentence_pairs": []})
        row = {"sentence1": pair.sentence1, "sentence2": pair.sentence2}
        subtype["sentence_pairs"].append(row)
        counts[pair.type, pair.subtype] += 1
    made = {
        "created_at": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "model": "lens_core",
        "tokenizer": None,
        "num_pairs_per_type": max(counts.values(), default=0),
    }
    return {
        "metadata": made if metadata is None else dict(metadata),
        "diff_token_type": types,
    }


def write_original(
    pairs: Iterable[Pair], path: str | Path, *, metadata: Mapping[str, Any] | None = None
) -> Path:
    """Write `original_json` to a file, gzipped when its name ends in .gz.

    Raises:
        InputError: it cannot be written.
    """
    return _written(dumps(original_json(pairs, metadata=metadata), indent=2) + "\n", Path(path))


def _written(text: str, path: Path) -> Path:
    data = text.encode()
    try:
        path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    except OSError as error:
        raise InputError(
            f'The file "{path}" cannot be written: {error.strerror}. Give another place.'
        ) from error
    return path
