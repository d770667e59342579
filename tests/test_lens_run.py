"""A held run is read again without the model, and gives what a fresh one gives."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from families import EVERY, IDS, build, loaded

from lens_core import InputError, PromptError, applied, lens_run, logit_lens, wrap_model
from lens_core.edits import make_edit
from lens_core.lens import run as run_module
from lens_core.models import LoadedModel
from lens_core.weights import columns

ALL = ["embed", "resid_mid", "resid_post", "attn_out", "mlp_out"]
VIEWS: list[dict[str, Any]] = [
    {},
    {"k": 3, "components": ALL, "targets": [17, 3]},
    {"components": ALL, "scale": "local", "layers": [0, -1], "positions": [-1]},
    {"components": ALL, "scale": "own", "important": "prob"},
    {"norm": "none", "divergences": True, "track_position": 2},
]


@contextmanager
def forwards(model: LoadedModel) -> Iterator[list[int]]:
    """How many tokens each forward pass of the model reads."""
    found: list[int] = []

    def note(module: Any, args: Any, kwargs: dict[str, Any]) -> None:
        found.append(kwargs["input_ids"].shape[1])

    hook = model.model.register_forward_pre_hook(note, with_kwargs=True)
    try:
        yield found
    finally:
        hook.remove()


def record(model: LoadedModel, ids: torch.Tensor = IDS, **options: Any) -> dict[str, Any]:
    found = logit_lens(model, ids, **options).to_json()
    return {key: value for key, value in found.items() if key not in ("created", "timing")}


@pytest.mark.parametrize("name", EVERY)
def test_a_held_run_is_read_as_a_fresh_one(name: str) -> None:
    model = loaded(name)
    held = lens_run(model, IDS)
    for options in VIEWS:
        if options.get("components") and "attn_out" not in held.sites:
            continue
        if options.get("norm") == "none" and model.self_check.reason_off("attribution"):
            continue
        fresh = record(model, **options)
        with forwards(model) as passes:
            again = record(model, run=held, **options)
        assert again == fresh
        assert passes == []


@pytest.mark.parametrize("name", ["llama", "gpt2", "gemma2"])
def test_generated_tokens_are_held_too(name: str) -> None:
    model, drawn = loaded(name), {"generate": 3, "temperature": 1.2, "seed": 5}
    with forwards(model) as passes:
        held = lens_run(model, IDS, **drawn)
    assert passes[-1] == len(held.ids)
    assert held.n_prompt == len(IDS)
    fresh = record(model, **drawn)
    with forwards(model) as passes:
        assert record(model, run=held, **drawn) == fresh
    assert passes == []


def test_one_pass_is_made() -> None:
    model = loaded("llama")
    with forwards(model) as passes:
        lens_run(model, IDS)
        logit_lens(model, IDS)
    assert passes == [len(IDS), len(IDS)]


def test_its_size_is_that_of_its_tensors() -> None:
    model = loaded("llama")
    stream = 4 * len(IDS) * model.facts.d_model
    layers = model.n_layers
    ids = IDS.nbytes * 2 + 4 * len(IDS)
    plain = lens_run(model, IDS, parts=False)
    assert plain.sites == ("resid_pre", "resid_post")
    assert plain.nbytes == stream * (layers + 1) + ids
    whole = lens_run(model, IDS)
    assert whole.nbytes == stream * (4 * layers + 1) + ids


def test_a_run_holds_for_the_edits_that_it_was_made_under() -> None:
    model = loaded("llama")
    module = model.anatomy.layers[1].mlp_proj
    assert module is not None
    chosen = torch.tensor([3, 8])
    edit = make_edit(model, {1: (chosen, columns(module, chosen) + 1)})
    plain = lens_run(model, IDS)
    with applied(model, edit, strength=0.5):
        held = lens_run(model, IDS)
        assert record(model, run=held) == record(model)
        with pytest.raises(InputError, match=f"edits none; now {edit.id} at strength 0.5 hold"):
            logit_lens(model, IDS, run=plain)
    assert held.edits == ((edit.id, 0.5),)
    with pytest.raises(InputError, match=f"{edit.id} at strength 0.5; now none hold"):
        logit_lens(model, IDS, run=held)
    with applied(model, edit), pytest.raises(InputError, match=r"now .* at strength 1.0"):
        logit_lens(model, IDS, run=held)


def test_a_run_that_does_not_fit_is_refused() -> None:
    model = loaded("llama")
    held = lens_run(model, IDS)
    drawn = lens_run(model, IDS, generate=2, temperature=1.0, seed=1)
    for run, ids, options, words in (
        (held, IDS[:-1], {}, "another prompt, of 7 tokens; this one has 6"),
        (held, IDS.flip(0), {}, "another prompt"),
        (held, drawn.ids, {}, "another prompt"),
        (held, IDS, {"generate": 2}, "generated nothing; asked for is up to 2 tokens"),
        (drawn, IDS, {}, "asked for is nothing"),
        (drawn, IDS, {"generate": 2, "temperature": 1.0, "seed": 2}, "seed 1"),
        (drawn, IDS, {"generate": 3, "temperature": 1.0, "seed": 1}, "up to 3 tokens"),
        (lens_run(loaded("gpt2"), IDS), IDS, {}, 'of the model "gpt2", and this is "llama"'),
        (lens_run(_half("llama"), IDS), IDS, {}, "another copy"),
    ):
        with pytest.raises(InputError, match=words):
            logit_lens(model, ids, run=run, **options)


def _half(name: str) -> LoadedModel:
    return wrap_model(build(name).bfloat16(), name=name)


def test_what_was_not_kept_cannot_be_read() -> None:
    model = loaded("llama")
    held = lens_run(model, IDS, parts=False)
    for options in ({}, {"components": ["attn_out"], "track_position": None}):
        with pytest.raises(InputError, match="parts=True"):
            logit_lens(model, IDS, run=held, **options)
    plain = {"track_position": None, "components": ["embed", "resid_post"]}
    assert record(model, run=held, **plain) == record(model, **plain)


def test_the_limits_hold_for_a_held_run_too() -> None:
    model = loaded("llama")
    held = lens_run(model, IDS, generate=2)
    with pytest.raises(PromptError, match="the limit is 8"):
        logit_lens(model, IDS, run=held, generate=2, max_tokens=8)
    with pytest.raises(PromptError, match="the limit is 6"):
        lens_run(model, IDS, max_tokens=6)
    with pytest.raises(InputError, match="generate is -1"):
        lens_run(model, IDS, generate=-1)


def test_long_prompts_are_held_without_their_logits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_module, "MAX_LOGITS_BYTES", 0)
    model = loaded("llama")
    assert record(model, run=lens_run(model, IDS)) == record(model)
