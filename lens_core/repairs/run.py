"""Run a repair: read what is wanted, search, verify what was found, and describe it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeAlias

from torch import Tensor

from lens_core.edits import WeightEdit, applied, make_edit
from lens_core.errors import InputError
from lens_core.models import LoadedModel
from lens_core.progress import tick, while_done
from lens_core.records import software
from lens_core.repairs import mint, reference, sgd, star
from lens_core.repairs.basis import RepairBasis, repair_basis
from lens_core.repairs.neurons import edited_neurons
from lens_core.repairs.observed import Standing
from lens_core.repairs.options import RepairOptions, check_whole
from lens_core.repairs.result import (
    PairState,
    Repair,
    RepairCost,
    RepairedPair,
    RepairedToken,
    RepairStep,
)
from lens_core.repairs.search import Search
from lens_core.repairs.states import pair_states, standing_of, token_state
from lens_core.repairs.texts import PROBES
from lens_core.repairs.wanted import read_pair, rows_of, views_of
from lens_core.repairs.watch import Watch
from lens_core.tokens import vocab_entries

PairTexts: TypeAlias = "tuple[str | Tensor, str | Tensor]"
"""A prompt and a target, as text or as token ids."""

_METHODS: dict[str, Callable[[Search], Iterator[RepairStep]]] = {
    "me-batch": star.star_batch,
    "me-iter": star.star_each,
    "mint": mint.change_neurons,
    "me-sgd": sgd.descend,
}


def repair(
    loaded: LoadedModel,
    prompt: str | Tensor,
    target: str | Tensor,
    *,
    basis: RepairBasis | None = None,
    watch: int = 0,
    **options: Any,
) -> Repair:
    """An edit after which the model continues the prompt with the target, and what it did.

    The model itself stays as it is: `result.edit` is a `WeightEdit` to be held by `applied`.

    Args:
        loaded: the model.
        prompt: what is read, as text or token ids [position].
        target: what should follow, as it continues the prompt: mostly with a leading space.
        basis: what `repair_basis` gave for this model; None makes it anew.
        watch: on how many built-in probes every step measures what else changes (`RepairStep.kl`);
            none without a tokenizer.
        options: the fields of `RepairOptions`; `method` is "me-batch" unless given.

    Raises:
        InputError: an option outside its range.
        PromptError: prompt or target are empty, or too long together.
        EditError: the model has experts, or quantised or offloaded weights.
        NotExactError: its readout is not exact; `me-sgd` does without.
    """
    return repair_many(loaded, [(prompt, target)], basis=basis, watch=watch, **options)


def repair_steps(
    loaded: LoadedModel,
    prompt: str | Tensor,
    target: str | Tensor,
    *,
    basis: RepairBasis | None = None,
    watch: int = 0,
    **options: Any,
) -> Iterator[RepairStep | Repair]:
    """`repair`, one update after another; the last item is the result.

    Dropping it at any step is safe: between steps the model is as it was.
    """
    return repair_many_steps(loaded, [(prompt, target)], basis=basis, watch=watch, **options)


def repair_many(
    loaded: LoadedModel,
    pairs: Sequence[PairTexts],
    *,
    basis: RepairBasis | None = None,
    watch: int = 0,
    **options: Any,
) -> Repair:
    """One edit for many pairs of prompt and target, searched for jointly; see `repair`."""
    (result,) = deque(
        repair_many_steps(loaded, pairs, basis=basis, watch=watch, **options), maxlen=1
    )
    assert isinstance(result, Repair)
    return result


def repair_many_steps(
    loaded: LoadedModel,
    pairs: Sequence[PairTexts],
    *,
    basis: RepairBasis | None = None,
    watch: int = 0,
    **options: Any,
) -> Iterator[RepairStep | Repair]:
    """`repair_many`, one update after another; the last item is the result."""
    search = _search(loaded, pairs, basis, RepairOptions.of(options))
    check_whole("watch", watch, 0, len(PROBES))
    before = search.observe().standing
    with search.held():
        if watch and loaded.tokenizer is not None:
            search.watch = Watch(loaded, watch)
        states = pair_states(loaded, search.rows, before)
    steps = [search.first_step()]
    yield steps[0]
    if not bool(before.said.all()):
        total = _most_updates(search)
        method = _METHODS[search.options.method]
        for step in (reference.reproduce if search.options.compat else method)(search):
            steps.append(step)
            tick("epoch", min(step.epoch, total), total)
            yield step
        if not search.options.compat:
            search.settle()
    with while_done("epoch", 1, 1):
        found = _described(search, before, states, steps)
    yield found


def _search(
    loaded: LoadedModel,
    pairs: Sequence[PairTexts],
    basis: RepairBasis | None,
    options: RepairOptions,
) -> Search:
    """Everything that can be refused is refused here."""
    if isinstance(pairs, str) or not len(pairs):
        raise InputError(f"pairs is {pairs!r}; give at least one pair of prompt and target.")
    loaded.require("states")
    if options.method != "me-sgd":
        loaded.require("readout")
        loaded.require("attribution")
    wanted = [read_pair(loaded, prompt, target, options) for prompt, target in pairs]
    views = [
        view for index, pair in enumerate(wanted) for view in views_of(loaded, pair, index, options)
    ]
    rows = rows_of([*wanted, *views])
    return Search(loaded, rows, options, repair_basis(loaded) if basis is None else basis)


def _most_updates(search: Search) -> int:
    """How many updates there can be, for the progress."""
    options, tokens = search.options, len(search.rows)
    per_token = options.most_epochs * tokens
    if options.compat:
        return options.most_epochs if options.method == "me-batch" else per_token
    return {
        "me-batch": options.most_epochs,
        "me-iter": star.PASSES * per_token + star.POLISH_EPOCHS,
        "me-sgd": sgd.PASSES * per_token,
        "mint": len(mint.CAPS) * mint.PASSES * per_token,
    }[options.method]


def _described(
    search: Search, before: Standing, states: list[PairState], steps: list[RepairStep]
) -> Repair:
    """The result: the edit, verified as it will be used, and what it did."""
    loaded, rows = search.loaded, search.rows
    after, after_states, edit = before, states, None
    with search.held({}):
        changes = search.changes()
        if changes:
            edit = make_edit(loaded, changes)
            with applied(loaded, edit):
                after = standing_of(loaded, rows)
                after_states = pair_states(loaded, rows, after)
        status = _status(rows.pairs, before, after, after_states)
        if edit is not None:
            edit = make_edit(loaded, changes, notes=_notes(search, status, after_states))
        neurons = ()
        if edit is not None:
            first = int((~before.said).nonzero()[0, 0])
            neurons = edited_neurons(
                loaded, edit, rows.prefix(first).pairs[0].ids, counts=search.edits
            )
        cost = _cost(search, edit)
        header = loaded.header("repair", timing={"total_s": cost.seconds})
    tokens = tuple(_token(search, before, after, row) for row in range(len(rows)))
    found = Repair(
        header={**header, "input": {"pairs": len(rows.pairs)}},
        options=search.options,
        status=status,
        edit=edit,
        pairs=tuple(
            RepairedPair(
                pair.prompt, pair.target,
                tuple(pair.prompt_ids.tolist()), tuple(pair.target_ids.tolist()),
                was, now, pair.view_of,
            )
            for pair, was, now in zip(rows.pairs, states, after_states, strict=True)
        ),
        tokens=tokens,
        neurons=neurons,
        cost=cost,
        steps=tuple(steps),
    )  # fmt: skip
    return found.with_vocab(vocab_entries(loaded.tokenizer, found.token_ids()))


def _token(search: Search, before: Standing, after: Standing, row: int) -> RepairedToken:
    pair = int(search.rows.sequence[row])
    return RepairedToken(
        pair=pair,
        index=row - search.rows.of_pair(pair).start,
        target=int(search.rows.target[row]),
        before=token_state(before, search.rows.target, row),
        after=token_state(after, search.rows.target, row),
        updates=int(search.updates[row]),
    )


def _status(pairs: Sequence[Any], before: Standing, after: Standing, now: list[PairState]) -> str:
    """In one word how it went; the pairs themselves count, not the views of them."""
    if bool(before.said.all()):
        return "already_correct"
    own = zip(pairs, now, strict=True)
    if all(state.greedy_exact for pair, state in own if pair.view_of is None):
        return "repaired"
    return "partial" if int(after.said.sum()) > int(before.said.sum()) else "failed"


def _notes(search: Search, status: str, states: Sequence[PairState]) -> dict[str, Any]:
    """What the edit says about itself."""
    wanted = [pair for pair in search.rows.pairs if pair.view_of is None]
    return {
        "method": search.options.method,
        "pairs": [
            {
                "prompt": pair.prompt,
                "target": pair.target,
                "prompt_ids": pair.prompt_ids.tolist(),
                "target_ids": pair.target_ids.tolist(),
            }
            for pair in wanted
        ],
        "n_pairs": len(wanted),
        "options": search.options.to_json(),
        "status": status,
        "metrics": {
            "greedy_exact": [state.greedy_exact for state in states[: len(wanted)]],
            "margin": min(state.margin for state in states[: len(wanted)]),
        },
        "software": software(),
    }


def _cost(search: Search, edit: WeightEdit | None) -> RepairCost:
    parts = () if edit is None else edit.layers
    return RepairCost(
        seconds=search.seconds(),
        forwards=search.forwards,
        backwards=search.backwards,
        epochs=search.epoch,
        columns=sum(len(part.columns) for part in parts),
        layers=len(parts),
        parameters=sum(part.new.numel() for part in parts),
        bytes=0 if edit is None else edit.nbytes,
        relative_change={
            str(part.layer): float((part.new.float() - part.old.float()).norm())
            / float(search.weights(part.layer).float().norm())
            for part in parts
        },
        cap=search.cap,
    )
