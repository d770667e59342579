"""The edits of a session: which hold, in what order, and what depends on what."""

from __future__ import annotations

from pathlib import Path

import pytest
import repair_cases
import torch

from lens_core.edits import (
    WeightEdit,
    applied,
    editable_projection,
    make_edit,
    own_columns,
    save_edit,
)
from lens_core.errors import EditError
from lens_core.models import LoadedModel
from tabs.session_edits import (
    MAX_EDITS,
    MAX_KEPT_BYTES,
    ORIGINAL,
    KeptEdit,
    active,
    chosen,
    picked,
    said_active,
    switched,
    with_edit,
    with_file,
    with_strength,
    without,
)


def record(name: str, size: int = 8) -> dict[str, str]:
    return {"id": name * 8, "safetensors": "x" * size}


@pytest.fixture
def stack() -> dict[str, KeptEdit]:
    """Two edits that are on, and a third one made on top of both."""
    edits = with_edit({}, "a", record("a"), on=True)
    edits = with_edit(edits, "b", record("b"), on=True)
    return with_edit(edits, "c", record("c"), on=True, base=[(key * 8, 1.0) for key in "ab"])


def small_model() -> LoadedModel:
    return repair_cases.build("llama")


def changed(loaded: LoadedModel, neuron: int) -> WeightEdit:
    """An edit of one neuron of the first layer."""
    columns = torch.tensor([neuron])
    old = own_columns(editable_projection(loaded, 0), columns)
    return make_edit(loaded, {0: (columns, old + 1)})


def on(edits: dict[str, KeptEdit]) -> list[str]:
    return [name for name, kept in edits.items() if kept.on]


def test_what_is_on_is_carried_in_the_order_of_the_session(stack: dict[str, KeptEdit]) -> None:
    edits, _ = with_strength(stack, "c", 0.5)
    assert [(one["edit"]["id"][0], one["strength"]) for one in active(edits)] == [
        ("a", 1.0),
        ("b", 1.0),
        ("c", 0.5),
    ]
    assert chosen(edits, said_active(edits)) == active(edits)
    assert said_active(edits) == "a + b + c × 0.5"


def test_switching_one_off_switches_off_what_was_made_on_it(stack: dict[str, KeptEdit]) -> None:
    edits, others = switched(stack, "a", False)
    assert (on(edits), others) == (["b"], ["c"])
    edits, others = switched(edits, "c", True)
    assert (on(edits), others) == (["a", "b", "c"], ["a"])
    assert edits == stack


def test_another_strength_below_an_edit_switches_it_off(stack: dict[str, KeptEdit]) -> None:
    edits, others = with_strength(stack, "b", 0.5)
    assert (on(edits), others) == (["a", "b"], ["c"])
    assert with_strength(stack, "c", 0.5)[1] == []


def test_switching_one_on_gives_those_below_it_their_strength_back(
    stack: dict[str, KeptEdit],
) -> None:
    weaker, _ = with_strength(stack, "a", 0.5)
    edits, others = switched(weaker, "c", True)
    assert (edits, others) == (stack, ["a"])


def test_an_edit_that_is_there_already_keeps_its_place(stack: dict[str, KeptEdit]) -> None:
    assert with_edit(stack, "a again", record("a"), on=True) == stack
    off, _ = switched(stack, "a", False)
    assert on(with_edit(off, "a again", record("a"), on=True)) == ["a", "b"]


def test_a_file_joins_what_it_was_made_on(tmp_path: Path) -> None:
    loaded = small_model()
    first = changed(loaded, 3)
    with applied(loaded, first, strength=0.5):
        second = changed(loaded, 5)
    edits = with_edit({}, "first", first.to_json())
    save_edit(second, tmp_path / "second.safetensors")
    found = with_file(edits, str(tmp_path / "second.safetensors"), None)
    assert [(kept.on, kept.strength) for kept in found.values()] == [(True, 0.5), (True, 1.0)]
    assert with_file(found, str(tmp_path / "second.safetensors"), None) == found


def test_undoing_one_takes_along_what_was_made_on_it(stack: dict[str, KeptEdit]) -> None:
    edits, others = without(stack, "b")
    assert (list(edits), others) == (["a"], ["c"])
    assert without(stack, "c")[0] == {name: stack[name] for name in "ab"}


def test_the_picker_switches_on_one_alone_with_what_it_needs(stack: dict[str, KeptEdit]) -> None:
    assert on(picked(stack, "b")) == ["b"]
    assert on(picked(stack, "c")) == ["a", "b", "c"]
    assert on(picked(stack, ORIGINAL)) == []
    assert picked(stack, said_active(stack)) == stack
    assert chosen(stack, ORIGINAL) is None
    assert chosen(stack, "b") == [{"edit": record("b"), "strength": 1.0}]


def test_an_edit_that_is_gone_is_named(stack: dict[str, KeptEdit]) -> None:
    with pytest.raises(EditError, match='"lost"'):
        chosen(stack, "lost")


def test_the_first_one_that_is_off_makes_room() -> None:
    edits: dict[str, KeptEdit] = {}
    for index in range(MAX_EDITS + 1):
        edits = with_edit(edits, f"edit {index}", record(f"{index:x}"), on=index == 0)
    assert list(edits) == ["edit 0", *(f"edit {i}" for i in range(2, MAX_EDITS + 1))]
    large = with_edit(edits, "large", record("z", MAX_KEPT_BYTES - 9))
    assert list(large) == ["edit 0", "large"]


def test_edits_that_are_on_are_never_dropped_silently() -> None:
    edits: dict[str, KeptEdit] = {}
    for index in range(MAX_EDITS):
        edits = with_edit(edits, f"edit {index}", record(f"{index:x}"), on=True)
    with pytest.raises(EditError, match=f"{MAX_EDITS} edits"):
        with_edit(edits, "one more", record("f"))
