"""The next token: the same as a plain forward pass, at any temperature, and step by step."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
import torch
from families import EVERY, IDS, OTHERS, loaded

from lens_core import (
    Continuation,
    LoadedModel,
    NextToken,
    StringProbability,
    applied,
    load_model,
    next_token,
    next_token_from_logits,
    string_probability,
    wrap_model,
)
from lens_core.edits import make_edit
from lens_core.errors import InputError, LensError, PromptError
from lens_core.network import run
from lens_core.next_token_prediction.reading import unused_rows
from lens_core.weights import columns

PROMPT = "The capital of France is"
BOUNDS = {"gemma4": 1e-4}
"""Its random weights magnify rounding: in float64 cached steps differ from a fresh pass by 0.0."""


@pytest.fixture(scope="module")
def demo() -> LoadedModel:
    return load_model("demo")


@pytest.fixture(scope="module")
def ids(demo: LoadedModel) -> torch.Tensor:
    return demo.tokenize(PROMPT)


def plain_logits(of: LoadedModel, tokens: torch.Tensor) -> torch.Tensor:
    """All logits of an ordinary forward pass."""
    return run(of.model, tokens[None]).logits[0].float()


def test_it_is_the_softmax_of_a_plain_pass(model: LoadedModel) -> None:
    found = next_token(model, IDS, k=100 if model.facts.vocab_size >= 100 else 97)
    wanted = plain_logits(model, IDS)[-1].softmax(-1)
    best = wanted.topk(len(found.top.ids))
    np.testing.assert_allclose(found.top.p, best.values, atol=1e-6)
    np.testing.assert_allclose(wanted[found.top.ids], found.top.p, atol=1e-6)
    assert abs(float(found.top.p.sum()) - 1) < 1e-5
    assert found.top.cumulative[-1] <= 1
    np.testing.assert_allclose(np.log(found.top.p), found.top.log_p, atol=1e-5)


def test_entropy_and_nucleus(demo: LoadedModel, ids: torch.Tensor) -> None:
    found = next_token(demo, ids, k=100, nucleus=0.5)
    p = plain_logits(demo, ids)[-1].double().softmax(-1)
    assert found.top.entropy == pytest.approx(float(torch.special.entr(p).sum()), abs=1e-5)
    assert found.entropy_bits == pytest.approx(found.top.entropy / math.log(2))
    ordered = p.sort(descending=True).values.cumsum(0)
    assert found.top.nucleus_size == int((ordered < 0.5).sum()) + 1
    assert list(found.top.ids) == p.topk(100).indices.tolist()


def test_equals_come_by_their_ids(demo: LoadedModel, ids: torch.Tensor) -> None:
    row = torch.zeros(demo.facts.vocab_size)
    row[[9, 3]] = 1.0
    assert next_token_from_logits(demo, ids, row, k=4).top.ids.tolist() == [3, 9, 0, 1]


def test_constant_logits_know_nothing(demo: LoadedModel, ids: torch.Tensor) -> None:
    """Entropy is the logarithm of the vocabulary's size; a constant changes nothing."""
    rows = demo.facts.vocab_size
    flat = next_token_from_logits(demo, ids, torch.full((rows,), 7.0), nucleus=1.0)
    assert flat.top.entropy == pytest.approx(math.log(rows), abs=1e-9)
    assert flat.top.nucleus_size == rows
    row = torch.randn(rows, generator=torch.Generator().manual_seed(0))
    first, second = (next_token_from_logits(demo, ids, row + c) for c in (0.0, 4.0))
    assert first.top.entropy == pytest.approx(second.top.entropy, abs=1e-5)
    with pytest.raises(InputError, match="shape"):
        next_token_from_logits(demo, ids, row[:-1])


def test_temperature_needs_no_pass(demo: LoadedModel, ids: torch.Tensor) -> None:
    found = next_token(demo, ids)
    for temperature in (0.01, 0.7, 3.0, 100.0):
        again = found.at(temperature)
        fresh = next_token(demo, ids, temperature=temperature)
        assert dropped(again.to_json()) == dropped(fresh.to_json())
        assert list(again.top.ids) == list(found.top.ids)
    assert dropped(found.at(0.3).at(1.0).to_json()) == dropped(found.to_json())
    assert found.at(1.0, nucleus=0.2).nucleus == 0.2
    for wrong in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(InputError, match="temperature"):
            found.at(wrong)


def dropped(record: dict[str, Any]) -> dict[str, Any]:
    """A record without what two runs never share."""
    return {key: value for key, value in record.items() if key not in ("created", "timing")}


def test_json_reads_back(demo: LoadedModel, ids: torch.Tensor) -> None:
    found = next_token(demo, ids, k=3)
    record = json.loads(json.dumps(found.to_json(logits=True), allow_nan=False))
    back = NextToken.from_json(record)
    assert back.to_json(logits=True) == found.to_json(logits=True)
    assert dropped(back.at(2.0).to_json()) == dropped(found.at(2.0).to_json())
    small = NextToken.from_json(found.to_json())
    assert small.to_json() == found.to_json()
    with pytest.raises(InputError, match="logits=True"):
        small.at(2.0)
    with pytest.raises(InputError, match="schema"):
        NextToken.from_json({"schema": "lens_core/other/1"})
    assert set(record["vocab"]) == {str(t) for t in [*ids.tolist(), *record["top"]["ids"]]}


def test_minus_infinity_survives(demo: LoadedModel, ids: torch.Tensor) -> None:
    row = torch.full((demo.facts.vocab_size,), -math.inf)
    row[5] = 0.0
    found = next_token_from_logits(demo, ids, row, k=2)
    assert (found.top.entropy, found.top.nucleus_size) == (0.0, 1)
    record = json.loads(json.dumps(found.to_json(logits=True), allow_nan=False))
    assert NextToken.from_json(record).at(1.0).top.log_p[1] == -math.inf


def test_a_position_is_the_end_of_its_prefix(demo: LoadedModel, ids: torch.Tensor) -> None:
    every = plain_logits(demo, ids)
    for position in (0, 2, -2):
        found = next_token(demo, ids, position=position)
        np.testing.assert_allclose(found.logits, every[position], atol=1e-5)
        assert found.position == position % len(ids)
        assert found.header["input"]["ids"] == ids.tolist()


def test_rows_without_a_token_are_named(demo: LoadedModel, ids: torch.Tensor) -> None:
    unused = unused_rows(demo)
    assert demo.tokenizer is not None
    known = set(demo.tokenizer.get_vocab().values())
    assert set(unused.tolist()) == set(range(demo.facts.vocab_size)) - known
    padded = wider(demo, 8)
    found = next_token(padded, ids, k=5)
    behind = range(demo.facts.vocab_size, demo.facts.vocab_size + 8)
    assert set(found.unused.tolist()) == {*unused.tolist(), *behind}
    p = plain_logits(padded, ids)[-1].softmax(-1)
    assert found.top.unused_p == pytest.approx(float(p[found.unused].sum()), abs=1e-6)
    assert found.top.ids[0] == behind[0]
    assert found.vocab[str(behind[0])] == {"text": f"<unused {behind[0]}>", "bytes": None}


def wider(demo: LoadedModel, more: int) -> LoadedModel:
    """The model with rows behind its vocabulary, the first of which is the most likely."""
    from copy import deepcopy

    model = deepcopy(demo.model)
    rows = demo.facts.vocab_size
    model.resize_token_embeddings(rows + more, mean_resizing=False)
    best = next_token(demo, demo.tokenize(PROMPT), k=1).top.ids[0]
    head: Any = model.get_output_embeddings()
    with torch.no_grad():
        head.weight[rows:] = 0.0
        head.weight[rows] = 2 * head.weight[best]
    return wrap_model(model, demo.tokenizer)


def test_without_a_tokenizer_ids_are_shown() -> None:
    found = next_token(loaded("llama"), IDS)
    assert found.vocab["5"]["text"] == "5"
    assert len(found.unused) == 0


def test_wrong_arguments_are_named(demo: LoadedModel, ids: torch.Tensor) -> None:
    wrong = [{"k": 0}, {"k": 101}, {"nucleus": 0.0}, {"nucleus": 1.1}, {"position": 99}]
    for options in wrong:
        with pytest.raises(InputError, match=next(iter(options))):
            next_token(demo, ids, **options)
    with pytest.raises(PromptError, match="limit is 2"):
        next_token(demo, ids, max_tokens=2)


def test_a_string_is_the_product_of_its_steps(demo: LoadedModel, ids: torch.Tensor) -> None:
    found = string_probability(demo, ids, " Paris, 巴黎")
    total, text = 0.0, ids
    for token, log_p, rank in zip(
        found.tokens.ids, found.tokens.log_p, found.tokens.rank, strict=True
    ):
        row = plain_logits(demo, text)[-1].double().log_softmax(-1)
        assert log_p == pytest.approx(float(row[token]), abs=1e-5)
        assert rank == int((row > row[token]).sum())
        total += float(row[token])
        text = torch.cat([text, torch.tensor([token])])
    assert found.log_p == pytest.approx(total, abs=1e-4)
    assert found.p == pytest.approx(math.exp(found.log_p))
    record = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert StringProbability.from_json(record).to_json() == found.to_json()
    with pytest.raises(InputError, match="schema"):
        StringProbability.from_json({})


def test_one_token_is_the_next_token(demo: LoadedModel, ids: torch.Tensor) -> None:
    following = next_token(demo, ids)
    for rank, token in enumerate(following.top.ids[:3]):
        one = string_probability(demo, ids, torch.tensor([token]))
        assert one.log_p == pytest.approx(float(following.top.log_p[rank]), abs=1e-5)
        assert (one.tokens.rank[0], one.tokens.best_ids[0]) == (rank, following.top.ids[0])


def test_strings_that_cannot_be_read(demo: LoadedModel, ids: torch.Tensor) -> None:
    for wrong in ("", torch.tensor([], dtype=torch.long), torch.tensor([10**7])):
        with pytest.raises(PromptError):
            string_probability(demo, ids, wrong)
    with pytest.raises(PromptError, match="limit"):
        string_probability(demo, ids, " and then some more", max_tokens=len(ids) + 1)


@pytest.mark.parametrize("name", [*EVERY, *sorted(OTHERS)])
def test_a_step_is_a_fresh_pass(name: str) -> None:
    """Far enough for the sliding windows of these models (3) to be left, back, and on again."""
    of = loaded(name)
    going = Continuation(of, IDS[:2], k=3)
    for token in (None, 42, 7, None, 9):
        found = going.append(token)
        check_fresh(of, going, found)
    assert len(going.steps) == 5
    going.undo(2)
    check_fresh(of, going, going.append(11))
    assert going.steps[-1].id == 11


def check_fresh(of: LoadedModel, going: Continuation, found: NextToken) -> None:
    wanted = plain_logits(of, going.ids)[-1].cpu()
    assert found.logits is not None
    bound = BOUNDS.get(of.facts.id, 1e-5)
    np.testing.assert_allclose(found.logits, wanted, atol=bound * float(wanted.abs().max()))


def test_families_without_an_exact_cache_say_so() -> None:
    for name, said in (("rwkv", "no key-value cache"), ("llama", None)):
        going = Continuation(loaded(name), IDS)
        found = going.append(3)
        assert (said is None) == (going.fresh_reason is None)
        assert said is None or any(said in text for text in found.header["warnings"])


def test_a_wrong_cache_is_given_up(demo: LoadedModel, ids: torch.Tensor) -> None:
    going = Continuation(demo, ids)
    with torch.inference_mode():
        for layer in going._rows._cache.layers:
            layer.values *= 1.5
    found = going.append(5)
    assert going.fresh_reason is not None
    assert "off by" in going.fresh_reason
    check_fresh(demo, going, found)
    check_fresh(demo, going, going.append(6))


def test_steps_are_as_likely_as_they_were(demo: LoadedModel, ids: torch.Tensor) -> None:
    going = Continuation(demo, ids, temperature=0.7)
    before = going.next
    going.append(int(before.top.ids[2]))
    step = going.steps[0]
    assert (step.id, step.rank) == (before.top.ids[2], 2)
    assert step.p == pytest.approx(float(before.top.p[2]), abs=1e-6)
    after = going.next
    assert after.header["input"]["n_prompt"] == len(ids)
    assert NextToken.from_json(after.to_json()).steps == after.steps
    assert going.undo() is before
    with pytest.raises(InputError, match="taken back"):
        going.undo()
    going.append(" the")
    with pytest.raises(InputError, match="count"):
        going.undo(2)


def test_appending_is_refused_with_its_reason(demo: LoadedModel, ids: torch.Tensor) -> None:
    going = Continuation(demo, ids, max_tokens=len(ids))
    for wrong in (" two words", -1, None):
        with pytest.raises(LensError):
            going.append(wrong)
    assert going.steps == ()


def test_edits_must_be_those_of_the_beginning(demo: LoadedModel, ids: torch.Tensor) -> None:
    neurons = torch.arange(demo.facts.d_mlp or 0)
    projection: Any = demo.anatomy.layers[-1].mlp_proj
    edit = make_edit(demo, {demo.n_layers - 1: (neurons, columns(projection, neurons))})
    with applied(demo, edit):
        going = Continuation(demo, ids)
        found = going.append()
        assert found.header["edit"]["id"] == edit.id
        check_fresh(demo, going, found)
    with pytest.raises(InputError, match="began under the edits"):
        going.append()


def test_a_stopped_step_leaves_no_half_read_cache(demo: LoadedModel, ids: torch.Tensor) -> None:
    from lens_core.progress import Stopped, reported

    going = Continuation(demo, ids)
    going.append()

    def stop(what: str, done: int, total: int) -> None:
        if done == 2:
            raise Stopped

    with pytest.raises(Stopped), reported(stop):
        going.append()
    assert len(going.steps) == 1
    check_fresh(demo, going, going.append())
    assert not any(layer.block._forward_hooks for layer in demo.anatomy.layers)
