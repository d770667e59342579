"""What comes out of a repair: its steps while it runs, and the edit with what it did."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np
from jaxtyping import Float

from lens_core.records import plain
from lens_core.repairs.options import RepairOptions
from lens_core.weight_edit import MAX_BYTES, WeightEdit

STATUSES = ("already_correct", "repaired", "partial", "failed")


@dataclass(frozen=True, eq=False)
class RepairStep:
    """The state after one update: cheap, and enough to draw the progress."""

    epoch: int
    """Counts the updates of the whole run, from 1; 0 is the state before the first."""
    phase: str
    """start, gated, joint, token, gradient or neuron: what kind of update it was."""
    token: int | None
    """The row of the token that is worked on; None for all together."""
    margins: Float[np.ndarray, " token"]
    """Logit of each wanted token minus that of the best other; positive: the model says it."""
    rate: float | None
    """What the direction was multiplied by."""
    columns: int
    """How many neurons are changed so far."""
    seconds: float
    """Since the run began."""
    kl: float | None = None
    """Mean KL to the model before, on the texts that are watched, in nats; None where none are."""

    def to_json(self) -> dict[str, Any]:
        """Plain Python values."""
        return {item.name: plain(getattr(self, item.name)) for item in fields(self)}

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> RepairStep:
        """The inverse of `to_json`."""
        return cls(**{**record, "margins": np.array(record["margins"], dtype=np.float32)})


@dataclass(frozen=True)
class TokenState:
    """How the model stands to one wanted token, given the wanted ones before it."""

    said: int
    """The most likely token."""
    said_p: float
    """Its probability."""
    p: float
    """Probability of the wanted token."""
    rank: int
    """Of the wanted token, from 0."""
    margin: float
    """Logit of the wanted token minus that of the best other."""
    log_p: float
    """Of the wanted token, in nats."""


@dataclass(frozen=True)
class RepairedToken:
    """One token of a target."""

    pair: int
    index: int
    """Within the target."""
    target: int
    before: TokenState
    after: TokenState
    updates: int
    """How often it was pushed."""

    @property
    def action(self) -> str:
        """One of already_correct, repaired, regressed and failed."""
        was, now = self.before.margin > 0, self.after.margin > 0
        if now:
            return "already_correct" if was else "repaired"
        return "regressed" if was else "failed"


@dataclass(frozen=True)
class PairState:
    """What the model says for one prompt."""

    greedy: tuple[int, ...]
    """The most likely continuation, as many tokens as the target has."""
    greedy_exact: bool
    """Whether that is the target: the headline."""
    accuracy: float
    """Share of target tokens said, each given the wanted ones before it."""
    log_p: float
    """Of the whole target, in nats."""
    margin: float
    """The smallest of its tokens."""


@dataclass(frozen=True)
class RepairedPair:
    """One prompt with its target."""

    prompt: str | None
    target: str | None
    prompt_ids: tuple[int, ...]
    target_ids: tuple[int, ...]
    before: PairState
    after: PairState
    view_of: int | None = None
    """The pair that this one only says in other words."""


@dataclass(frozen=True)
class EditedNeuron:
    """A neuron whose output vector was changed."""

    layer: int
    neuron: int
    activation: float
    """Where the first failing token is predicted."""
    edits: int
    """How often it was changed (mint); 1 where all are moved together."""
    change: float
    """Length of the change of its vector."""
    relative: float
    """Beside the length of the vector before."""
    promoted_before: tuple[int, ...] = ()
    """The tokens that it raised most by firing with this sign."""
    promotes: tuple[int, ...] = ()
    """Those that it raises now."""


@dataclass(frozen=True)
class RepairCost:
    """What it took."""

    seconds: float
    forwards: int
    """Passes over what is wanted; several batches of it count as one."""
    backwards: int
    epochs: int
    columns: int
    layers: int
    parameters: int
    bytes: int
    """Of the edit's tensors, old and new."""
    relative_change: dict[str, float]
    """By layer, the length of the change beside that of the whole output projection."""
    cap: float | None = None
    """The largest change of a neuron that was allowed, in median norms (mint)."""


@dataclass(frozen=True, eq=False)
class Repair:
    """A repair: what the model said, what it says now, and the edit that makes it so."""

    header: Mapping[str, Any]
    options: RepairOptions
    status: str
    """already_correct, repaired (every target comes out greedily), partial or failed."""
    edit: WeightEdit | None
    """None when nothing had to be changed."""
    pairs: tuple[RepairedPair, ...]
    """The wanted ones, then automatic views of them."""
    tokens: tuple[RepairedToken, ...]
    neurons: tuple[EditedNeuron, ...]
    """Those that were changed most, the strongest first."""
    cost: RepairCost
    steps: tuple[RepairStep, ...]
    vocab: Mapping[str, Any] = field(default_factory=dict)
    """Every token id of the result as text."""

    def with_vocab(self, vocab: Mapping[int, Any]) -> Repair:
        """The same result with its tokens as text."""
        return replace(self, vocab={str(token): entry for token, entry in vocab.items()})

    def token_ids(self) -> list[int]:
        """Every token id that the result names."""
        found: set[int] = set()
        for pair in self.pairs:
            found.update(*(pair.prompt_ids, pair.target_ids), pair.before.greedy, pair.after.greedy)
        for token in self.tokens:
            found.update((token.before.said, token.after.said))
        for neuron in self.neurons:
            found.update((*neuron.promoted_before, *neuron.promotes))
        return sorted(found)

    def to_json(self) -> dict[str, Any]:
        """Plain Python values by the schema lens_core/repair/1.

        An edit above the size that is read again is left out; `weight_edit` is null then.
        """
        small = self.edit is not None and self.edit.nbytes < MAX_BYTES
        return {
            **plain(self.header),
            "options": self.options.to_json(),
            "status": self.status,
            "pairs": [_record(pair) for pair in self.pairs],
            "tokens": [{**_record(token), "action": token.action} for token in self.tokens],
            "neurons": [_record(neuron) for neuron in self.neurons],
            "cost": _record(self.cost),
            "steps": [step.to_json() for step in self.steps],
            "vocab": plain(self.vocab),
            "weight_edit": self.edit.to_json() if small and self.edit is not None else None,
        }

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Repair:
        """The inverse of `to_json`.

        Raises:
            EditError: the edit inside is damaged.
        """
        own = {"options", "status", "pairs", "tokens", "neurons", "cost", "steps", "vocab"}
        edit = record["weight_edit"]
        return cls(
            header={k: v for k, v in record.items() if k not in own | {"weight_edit"}},
            options=RepairOptions.from_json(record["options"]),
            status=record["status"],
            edit=None if edit is None else WeightEdit.from_json(edit),
            pairs=tuple(_pair(one) for one in record["pairs"]),
            tokens=tuple(_token(one) for one in record["tokens"]),
            neurons=tuple(_neuron(one) for one in record["neurons"]),
            cost=RepairCost(**record["cost"]),
            steps=tuple(RepairStep.from_json(one) for one in record["steps"]),
            vocab=record["vocab"],
        )


def _record(value: Any) -> dict[str, Any]:
    """The fields of a dataclass as plain values, nested ones too; None stays."""
    out = {}
    for item in fields(value):
        found = getattr(value, item.name)
        nested = isinstance(found, (TokenState, PairState))
        out[item.name] = _record(found) if nested else plain(found)
    return out


def _token(record: Mapping[str, Any]) -> RepairedToken:
    states = {name: TokenState(**record[name]) for name in ("before", "after")}
    return RepairedToken(**{k: v for k, v in {**record, **states}.items() if k != "action"})


def _pair(record: Mapping[str, Any]) -> RepairedPair:
    states = {
        name: PairState(**{**record[name], "greedy": tuple(record[name]["greedy"])})
        for name in ("before", "after")
    }
    ids = {name: tuple(record[name]) for name in ("prompt_ids", "target_ids")}
    return RepairedPair(**{**record, **states, **ids})


def _neuron(record: Mapping[str, Any]) -> EditedNeuron:
    lists = {name: tuple(record[name]) for name in ("promoted_before", "promotes")}
    return EditedNeuron(**{**record, **lists})
