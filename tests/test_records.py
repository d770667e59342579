"""Headers are the same everywhere, and JSON is strict both ways."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import pytest
from families import loaded

from lens_core import records


@dataclass(frozen=True, eq=False)
class Record:
    ids: np.ndarray
    probs: np.ndarray
    name: str
    maybe: np.ndarray | None = None


def test_numbers_survive_exactly() -> None:
    numbers = np.random.default_rng(0).standard_normal(1000).astype(np.float32)
    text = records.dumps({"numbers": records.plain(numbers)})
    assert np.array_equal(records.to_array(json.loads(text)["numbers"]), numbers)


def test_what_is_no_number_becomes_null_and_comes_back() -> None:
    values = np.array([[1.5, np.nan], [np.inf, -np.inf]], dtype=np.float32)
    assert records.plain(values) == [[1.5, None], [None, None]]
    again = records.to_array(records.plain(values))
    assert np.array_equal(again, np.where(np.isfinite(values), values, np.nan), equal_nan=True)
    assert records.plain({"x": float("nan"), 3: np.int64(7)}) == {"x": None, "3": 7}


def test_dataclasses_come_back() -> None:
    record = Record(np.arange(6).reshape(2, 3), np.ones((2, 3), dtype=np.float32), "名前")
    plain = records.fields_to_json(record)
    assert "maybe" not in plain
    again = records.fields_from_json(Record, {**json.loads(records.dumps(plain)), "new": 1})
    assert again.ids.dtype == np.int64
    assert again.probs.dtype == np.float32
    assert records.fields_to_json(again) == plain


def test_anything_else_is_refused() -> None:
    with pytest.raises(TypeError, match="object"):
        records.plain({"value": object()})
    with pytest.raises(ValueError, match="JSON compliant"):
        records.dumps({"value": float("nan")})


def test_the_header_says_what_the_result_rests_on() -> None:
    model = loaded("llama")
    header = model.header("logit_lens", seed=3, warnings=["careful"])
    assert header["schema"] == "lens_core/logit_lens/1"
    assert datetime.fromisoformat(header["created"]).tzinfo is not None
    assert header["seed"] == 3
    assert header["warnings"] == ["careful"]
    assert header["edit"] is None
    assert set(header["model"]) == {
        "id",
        "revision",
        "class",
        "dtype",
        "quantization",
        "attn_impl",
        "n_layers",
        "n_heads",
        "n_kv_heads",
        "d_model",
        "vocab_size",
        "weights_sha256",
        "tokenizer_sha256",
    }
    assert set(header["software"]) == {"lens_core", "python", "torch", "transformers"}
    assert records.dumps(header)
