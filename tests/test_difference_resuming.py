"""A comparison that was stopped goes on: nothing is run twice, and the result is the same."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lens_core
from lens_core import PairDifference, make_pairs, pair_difference
from lens_core.difference import collecting
from lens_core.difference.resuming import trim_windows
from lens_core.difference.run import pair_difference_steps
from lens_core.edits import applied
from lens_core.models import LoadedModel

OPTIONS: dict[str, Any] = {"control": False, "halves": False}


@pytest.fixture(scope="module")
def demo() -> LoadedModel:
    return lens_core.load_model("demo")


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many pairs each window had that was really run."""
    counted: list[int] = []
    plain = collecting._run_window

    def counting(loaded: Any, ready: Any, options: Any) -> Any:
        counted.append(len(ready))
        return plain(loaded, ready, options)

    monkeypatch.setattr(collecting, "_run_window", counting)
    monkeypatch.setattr(collecting, "WINDOW", 8)
    return counted


def record(result: PairDifference) -> dict[str, Any]:
    """Without what differs from run to run."""
    return {
        name: value for name, value in result.to_json().items() if name not in ("created", "timing")
    }


def test_what_was_run_before_the_stop_is_not_run_again(
    demo: LoadedModel, runs: list[int], tmp_path: Path
) -> None:
    pairs = make_pairs(["tense_errors"], n=20)
    whole = pair_difference(demo, pairs, **OPTIONS)
    assert runs == [8, 8, 4]
    runs.clear()
    steps = pair_difference_steps(demo, pairs, resume=tmp_path, **OPTIONS)
    next(steps)
    next(steps)
    assert isinstance(steps, Generator)
    steps.close()
    assert runs == [8, 8]
    runs.clear()
    resumed = pair_difference(demo, pairs, resume=tmp_path, **OPTIONS)
    assert runs == [4]
    assert record(resumed) == record(whole)
    runs.clear()
    again = pair_difference(demo, pairs, resume=tmp_path, **OPTIONS)
    assert runs == []
    assert record(again) == record(whole)


def test_another_run_takes_nothing_of_it(
    demo: LoadedModel, runs: list[int], tmp_path: Path
) -> None:
    pairs = make_pairs(["tense_errors"], n=8)
    pair_difference(demo, pairs, resume=tmp_path, **OPTIONS)
    edit = lens_core.repair(demo, "The capital of France is", " Rome").edit
    assert edit is not None
    runs.clear()
    others: list[dict[str, Any]] = [{"readout": "edit"}, {"layers": [0]}, {"lens": False}]
    others.append({"special": "none"})
    for number, options in enumerate(others, 1):
        pair_difference(demo, pairs, resume=tmp_path, **OPTIONS, **options)
        assert len(runs) == number, options
    with applied(demo, edit):
        edited = pair_difference(demo, pairs, resume=tmp_path, **OPTIONS)
        assert len(runs) == len(others) + 1
        plain = pair_difference(demo, pairs, **OPTIONS)
    np.testing.assert_array_equal(edited.metrics["l2"], plain.metrics["l2"])


def test_a_damaged_file_is_run_again(demo: LoadedModel, runs: list[int], tmp_path: Path) -> None:
    pairs = make_pairs(["tense_errors"], n=8)
    whole = pair_difference(demo, pairs, resume=tmp_path, **OPTIONS)
    (path,) = tmp_path.glob("*.npz")
    path.write_bytes(path.read_bytes()[:200])
    again = pair_difference(demo, pairs, resume=tmp_path, **OPTIONS)
    assert runs == [8, 8]
    assert record(again) == record(whole)
    assert not list(tmp_path.glob("*.part"))


def test_old_windows_make_room(demo: LoadedModel, runs: list[int], tmp_path: Path) -> None:
    pairs = make_pairs(["tense_errors"], n=16)
    pair_difference(demo, pairs, resume=tmp_path, **OPTIONS)
    files = list(tmp_path.glob("*.npz"))
    assert len(files) == len(runs) == 2
    size = files[0].stat().st_size
    trim_windows(tmp_path, 2 * size + 100)
    assert len(list(tmp_path.glob("*.npz"))) == 2
    trim_windows(tmp_path, size + 100)
    assert len(list(tmp_path.glob("*.npz"))) == 1


def test_a_folder_that_cannot_be_made_is_named(demo: LoadedModel, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(lens_core.LensError, match="resume is"):
        pair_difference(
            demo, make_pairs(["tense_errors"], n=2), resume=tmp_path / "file", **OPTIONS
        )
