"""The state of a repair while it is searched for: trial columns in float32, and what was seen.

Between two steps the model is as it was: the trial columns are in its weights only while the
search holds the model's lock. So a search can be dropped at any step, and others can run.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from lens_core.edits import columns_held, editable_projection, own_columns
from lens_core.errors import InputError
from lens_core.models import LoadedModel
from lens_core.repairs.basis import RepairBasis
from lens_core.repairs.observed import Observed, Standing, merged, observe
from lens_core.repairs.options import RepairOptions
from lens_core.repairs.result import RepairStep
from lens_core.repairs.wanted import Rows
from lens_core.repairs.watch import Watch
from lens_core.weights import editable_weight

LEAST_MISSING = 0.5
"""Logits that a failing token is taken to miss at least."""


@dataclass(eq=False)
class TrialColumns:
    """Columns of one layer: what they were and, in float32, what they are to become.

    Steps are smaller than what bfloat16 can hold, so rounding each one would lose a third of them.
    """

    columns: Int[Tensor, " k"]
    """On the CPU, in any order."""
    original: Float[Tensor, "k d_model"]
    value: Float[Tensor, "k d_model"]

    def copy(self) -> TrialColumns:
        """The same with a value of its own."""
        return TrialColumns(self.columns, self.original, self.value.clone())

    def joined(self, other: TrialColumns) -> TrialColumns:
        """These columns and then others."""
        names = ("columns", "original", "value")
        return TrialColumns(
            *(torch.cat([getattr(self, name), getattr(other, name)]) for name in names)
        )


Trial = dict[int, TrialColumns]
"""By layer."""


@dataclass(eq=False)
class Search:
    """One repair on its way."""

    loaded: LoadedModel
    rows: Rows
    options: RepairOptions
    basis: RepairBasis
    trial: Trial = field(default_factory=dict)
    standing: Standing | None = None
    """The latest that is known of every token."""
    forwards: int = 0
    """Passes over all wanted tokens, or over one pair."""
    backwards: int = 0
    epoch: int = 0
    updates: Tensor = field(init=False)
    """How often each token was pushed."""
    edits: dict[tuple[int, int], int] = field(default_factory=dict)
    """By (layer, neuron), how often it was changed; only where neurons are changed one by one."""
    cap: float | None = None
    """The largest change of a neuron that was allowed, in median norms (mint)."""
    best: tuple[int, Trial] | None = None
    watch: Watch | None = None
    """Measures what else changes after every update, where that is asked for."""

    def __post_init__(self) -> None:
        self.updates = torch.zeros(len(self.rows), dtype=torch.long)
        self.base = self.loaded.active_edits
        self.started = time.perf_counter()

    @contextmanager
    def held(self, trial: Trial | None = None) -> Iterator[None]:
        """The model with the trial columns in it, for a block.

        Raises:
            InputError: other edits hold than when the repair began.
        """
        trial = self.trial if trial is None else trial
        values = {layer: (part.columns, part.value) for layer, part in trial.items()}
        with self.loaded.lock:
            if self.loaded.active_edits != self.base:
                raise InputError("The edits have changed since the repair began; keep them for it.")
            with columns_held(self.loaded, values):
                yield

    def observe(
        self,
        *,
        below: float | None = None,
        layers: Sequence[int] = (),
        push: Bool[Tensor, " token"] | None = None,
        pair: int | None = None,
        objective: str = "margin",
    ) -> Observed:
        """Measure all tokens, or those of one pair, on the trial weights; see `observe`."""
        rows = self.rows if pair is None else self.rows.only(pair)
        with self.held():
            found = observe(
                self.loaded, rows, push=push, below=below, layers=layers, objective=objective
            )
        self.forwards += 1
        self.backwards += bool(found.backward)
        if pair is None:
            self.standing = found.standing
        else:
            assert self.standing is not None
            self.standing = merged(self.standing, found.standing, self.rows.of_pair(pair))
        self._keep_best()
        return found

    def _keep_best(self) -> None:
        """Remember the trial columns with which the most tokens are said."""
        assert self.standing is not None
        margin = self.standing.margin
        said = int((margin > 0).sum())
        if self.best is None or said > self.best[0]:
            self.best = said, {layer: part.copy() for layer, part in self.trial.items()}

    def take(self, columns: Mapping[int, Int[Tensor, " k"]]) -> None:
        """Take distinct columns into the trial as they are, beside those that are there."""
        with self.loaded.lock:
            for layer, chosen in columns.items():
                known = self.trial.get(layer)
                if known is not None:
                    chosen = chosen[~torch.isin(chosen, known.columns)]
                fresh = self._fresh(layer, chosen)
                self.trial[layer] = fresh if known is None else known.joined(fresh)

    def _fresh(self, layer: int, columns: Tensor) -> TrialColumns:
        original = own_columns(editable_projection(self.loaded, layer), columns)
        return TrialColumns(columns, original, original.to(torch.float32, copy=True))

    def places(self, layer: int, columns: Int[Tensor, " k"]) -> Int[Tensor, " k"]:
        """Where in the trial some of its columns are."""
        order = self.trial[layer].columns.argsort()
        return order[torch.searchsorted(self.trial[layer].columns[order], columns)]

    def move(self, layer: int, columns: Int[Tensor, " k"], change: Tensor) -> None:
        """Add a change [k, d_model] to some columns of the trial."""
        value = self.trial[layer].value
        value[self.places(layer, columns).to(value.device)] += change.to(value.device)

    def failing(self) -> list[int]:
        """The rows whose margin is too small on the trial weights."""
        margin = self.observe().standing.margin
        return (margin < self.options.margin).nonzero()[:, 0].tolist()

    def pushed(
        self, row: int | None, layers: Iterable[int] | None = None, objective: str = "margin"
    ) -> Observed:
        """A pass with the way back for one failing token, or for all; its pair alone is read."""
        pair = None if row is None else int(self.rows.sequence[row])
        mine = slice(0, len(self.rows)) if pair is None else self.rows.of_pair(pair)
        push = None if row is None else torch.arange(mine.start, mine.stop) == row
        seen = self.observe(
            below=self.options.margin,
            layers=tuple(range(self.loaded.n_layers) if layers is None else layers),
            push=push,
            pair=pair,
            objective=objective,
        )
        self.updates[mine] += seen.pushed
        return seen

    def rate(self, seen: Observed, gain: float) -> float | None:
        """What to multiply a direction by that lowers the loss by `gain` for a rate of 1.

        To first order the step closes a share (the pace) of the missing margin; the floor lets
        it arrive, where the share alone would come closer for ever. None if there is no such step.
        """
        if not math.isfinite(gain) or gain <= 0:
            return None
        if self.options.lr is not None:
            return self.options.lr
        missing = self.options.margin - seen.standing.margin[seen.pushed]
        return self.options.pace * float(missing.clamp_min(LEAST_MISSING).sum()) / gain

    def missing(self, seen: Observed) -> float:
        """How many logits the tokens of a pass miss in all."""
        return float((self.options.margin - seen.standing.margin).clamp_min(0).sum())

    def weights(self, layer: int) -> Float[Tensor, "neuron d_model"]:
        """What all neurons of a layer write now; read it only while the lock is held."""
        return editable_weight(editable_projection(self.loaded, layer))

    def step(self, phase: str, *, row: int | None = None, rate: float | None = None) -> RepairStep:
        """The record of the update that was just made and measured."""
        assert self.standing is not None
        self.epoch += 1
        return RepairStep(
            epoch=self.epoch,
            phase=phase,
            token=row,
            margins=self.standing.margin.numpy().copy(),
            rate=rate,
            columns=sum(len(part.columns) for part in self.trial.values()),
            seconds=self.seconds(),
            kl=self._watched(),
        )

    def _watched(self) -> float | None:
        if self.watch is None:
            return None
        with self.held():
            return self.watch.kl()

    def first_step(self) -> RepairStep:
        """The record of the state before the first update."""
        step = self.step("start")
        self.epoch = 0
        return replace(step, epoch=0)

    def seconds(self) -> float:
        """Since the run began."""
        return time.perf_counter() - self.started

    def settle(self) -> None:
        """Measure the last trial, and go back to the best one where that had more tokens right."""
        self.observe()
        assert self.standing is not None
        assert self.best is not None
        if self.best[0] > int(self.standing.said.sum()):
            self.trial = self.best[1]

    def changes(self) -> dict[int, tuple[Tensor, Tensor]]:
        """By layer, the columns that differ from the model's in its own dtype, and their values."""
        found = {}
        for layer, part in self.trial.items():
            rounded = part.value.to(part.original.dtype)
            moved = (rounded != part.original).any(dim=1).cpu()
            if bool(moved.any()):
                found[layer] = (part.columns[moved], rounded[moved])
        return found
