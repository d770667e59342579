"""What a part of the graph really does: it is removed, and the model runs again without it.

A contribution says how much of a state a part makes up; whether the prediction needs it is
another question. Here every part is taken out of one state in a forward pass of its own
(activation patching with nothing in its place; Vig et al., 2020; Meng et al., 2022), everything
behind it is worked out anew, and the prediction is compared with that of the whole model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from lens_core.errors import InputError, NotExactError
from lens_core.lens.options import target_id
from lens_core.memory import free_bytes
from lens_core.models import LoadedModel
from lens_core.progress import portion, tick, while_done
from lens_core.records import plain
from lens_core.self_check import relative_error
from lens_core.tree.knocked import knocked_out
from lens_core.tree.nodes import Node
from lens_core.tree.options import root_nodes
from lens_core.tree.parts import Part, Place, placed
from lens_core.tree.pushed import detail_header, vocabulary
from lens_core.tree.removal import Removal, removal
from lens_core.tree.run import GraphRun, check_run

MAX_PARTS = 1000
CPU_TOKENS, GPU_TOKENS = 1024, 16384
"""Tokens of one batch: more at once make nothing faster."""


@dataclass(frozen=True, eq=False)
class Verification:
    """What the prediction at one position becomes without each of some parts."""

    header: Mapping[str, Any]
    vocab: dict[str, Any]
    position: int
    """After which token the prediction is measured."""
    target: int
    foil: int | None
    """Its logit is subtracted from that of the target."""
    parts: tuple[Part, ...]
    """With their kinds filled in."""
    original_logit: float
    original_p: float
    """Probability of the target."""
    logit_change: Float[np.ndarray, " part"]
    """Changed minus original: negative where the part was raising the logit."""
    p_change: Float[np.ndarray, " part"]
    kl: Float[np.ndarray, " part"]
    """KL(original || changed) over the whole vocabulary, in nats."""
    top_ids: Int[np.ndarray, " part"]
    """What is predicted without the part."""
    top_p: Float[np.ndarray, " part"]

    @property
    def logit(self) -> Float[np.ndarray, " part"]:
        """The logit without each part."""
        return self.original_logit + self.logit_change

    @property
    def p(self) -> Float[np.ndarray, " part"]:
        """The probability of the target without each part."""
        return self.original_p + self.p_change

    def take(self, chosen: slice) -> Verification:
        """Some of the parts."""
        columns = {
            item.name: getattr(self, item.name)[chosen]
            for item in fields(self)
            if isinstance(getattr(self, item.name), np.ndarray)
        }
        return replace(self, parts=self.parts[chosen], **columns)

    def rows(self) -> list[dict[str, Any]]:
        """One record a part, in plain Python values."""
        columns = {
            "logit": self.logit,
            "logit_change": self.logit_change,
            "p": self.p,
            "p_change": self.p_change,
            "kl": self.kl,
            "top_id": self.top_ids,
            "top_p": self.top_p,
        }
        values = zip(*(plain(column) for column in columns.values()), strict=True)
        return [
            {"part": part.record(), **dict(zip(columns, row, strict=True))}
            for part, row in zip(self.parts, values, strict=True)
        ]

    def to_json(self) -> dict[str, Any]:
        """Plain Python values by the schema lens_core/graph_verification/1."""
        return {
            **plain(self.header),
            "vocab": plain(self.vocab),
            "position": self.position,
            "target": {"id": self.target, "foil": self.foil},
            "original": {"logit": self.original_logit, "p": self.original_p},
            "parts": self.rows(),
        }


@torch.no_grad()
def verify(
    loaded: LoadedModel,
    run: GraphRun,
    parts: Sequence[Part],
    *,
    root: int | str = -1,
    target: int | str | None = None,
    foil: int | str | None = None,
) -> Verification:
    """Remove each part in a forward pass of its own, and measure what that does to a prediction.

    What is removed is what the graph shows. Attention: what the heads move from the source, gate
    included. MLP: all that it adds at its position. Neuron: its activation becomes 0. Expert: the
    router's weight becomes 0, those of the others stay. Residual: the state carried on, out of
    the sum alone; attention and MLP still read it. Bias: those of the output projection and of
    the norms behind it. Token: all that later positions read of it, in every layer. The rest of
    the model then runs on as it is, with the edits that hold.

    Args:
        loaded: the model.
        run: what `graph_run` gave for it.
        parts: what to remove, each for itself.
        root: a position, or a node, at whose position the prediction is measured.
        target: token whose logit is measured, an id or a text of one token; None takes the
            model's own prediction there.
        foil: subtract the logit of this token.

    Raises:
        InputError: a part, root or token that this model or prompt does not have, or a run that
            does not fit.
        NotExactError: a part that cannot be removed exactly in this model.
    """
    node = _one_root(loaded, root, len(run.ids))
    position = node.position
    places = _placed(loaded, parts, len(run.ids), position)
    against = None if foil is None else target_id(loaded, foil)
    wanted = int(run.prediction.ids[position]) if target is None else target_id(loaded, target)
    with loaded.lock:
        check_run(run, loaded, None)
        rows = [removal(loaded, run, place) for place in places]
        ids, state = run.ids[: position + 1], run.trace.stream[-1, position]
        found = _measure(loaded, _Task(ids, state, rows, wanted, against))
        header = detail_header(loaded, "graph_verification", run)
    columns = found.columns()
    tokens = {wanted, *columns["top_ids"].tolist()} | ({against} if against is not None else set())
    return Verification(
        header=header,
        vocab=vocabulary(loaded, tokens),
        position=position,
        target=wanted,
        foil=against,
        parts=tuple(place.part for place in places),
        original_logit=found.original[0],
        original_p=found.original[1],
        **columns,
    )


def _one_root(loaded: LoadedModel, root: Any, length: int) -> Node:
    nodes = root_nodes(loaded, root, length)
    if len(nodes) != 1:
        raise InputError(f"root is {root!r}, which is {len(nodes)} nodes; give one position.")
    return nodes[0]


def _placed(loaded: LoadedModel, parts: Sequence[Part], length: int, position: int) -> list[Place]:
    """The parts, checked.

    Raises:
        InputError: none or too many, one that does not exist, or one behind the prediction.
    """
    if not 1 <= len(parts) <= MAX_PARTS:
        raise InputError(f"There are {len(parts)} parts to remove; give 1 to {MAX_PARTS}.")
    places = [placed(loaded, part, length) for part in parts]
    for place in places:
        if place.kind == "token" and place.dst.position == position:
            raise InputError(
                f"{place.part.dst} is the position whose prediction is measured; only earlier "
                "tokens can be cut off from it."
            )
        if place.dst.position > position:
            raise InputError(
                f"{place.part.dst} lies behind position {position}, where the prediction is "
                "measured, and cannot act on it; choose a later root."
            )
    return places


@dataclass(frozen=True, eq=False)
class _Task:
    """What is to be removed, and what is measured."""

    ids: Int[Tensor, " position"]
    """The prompt up to the position whose prediction is measured."""
    state: Float[Tensor, " d_model"]
    """Its last state in the graph's run, which a run without changes must give again."""
    rows: list[Removal]
    target: int
    foil: int | None


class _Measured:
    """Predictions as they come, compared with the original of the same batch."""

    def __init__(self, task: _Task) -> None:
        self.target = task.target
        self.foil = task.foil
        self.original = (0.0, 0.0)
        self._rows: list[tuple[float, float, float, int, float]] = []

    def add(self, original: Float[Tensor, " d_vocab"], changed: Sequence[Tensor]) -> None:
        """Predictions without some parts beside that of the whole model, as logits."""
        whole = original.double().log_softmax(0)
        logit, p = self._logit(original), float(whole[self.target].exp())
        if not self._rows:
            self.original = (logit, p)
        for logits in changed:
            without = logits.double().log_softmax(0)
            # A token that is impossible in both would give 0 * (inf - inf).
            terms = torch.where(whole.exp() > 0, whole.exp() * (whole - without), 0.0)
            top_p, top = without.exp().max(0)
            self._rows.append(
                (
                    self._logit(logits) - logit,
                    float(without[self.target].exp()) - p,
                    max(float(terms.sum()), 0.0),
                    int(top),
                    float(top_p),
                )
            )

    def _logit(self, logits: Tensor) -> float:
        other = 0.0 if self.foil is None else float(logits[self.foil])
        return float(logits[self.target]) - other

    def columns(self) -> dict[str, np.ndarray]:
        """The measured values by the names of `Verification`."""
        names = ("logit_change", "p_change", "kl", "top_ids", "top_p")
        kinds = (np.float32, np.float32, np.float32, np.int64, np.float32)
        columns = zip(*self._rows, strict=True)
        return {n: np.array(c, k) for n, c, k in zip(names, columns, kinds, strict=True)}


def _measure(loaded: LoadedModel, task: _Task) -> _Measured:
    """Run all rows in batches that hold the original, too; one by one where batches differ."""
    size = min(_batch_rows(loaded, len(task.ids)) - 1, len(task.rows))
    return _batches(loaded, task, size) if size > 1 else _one_by_one(loaded, task)


def _batches(loaded: LoadedModel, task: _Task, size: int) -> _Measured:
    """Measure all rows in batches; one by one when a batch does not do what a single run does.

    Raises:
        NotExactError: a single run does not do it either.
    """
    found = _Measured(task)
    starts = range(0, len(task.rows), size)
    for index, start in enumerate(starts):
        with portion(index, len(starts)):
            batch: list[Removal] = [(), *task.rows[start : start + size]]
            logits, states = knocked_out(loaded, task.ids, batch)
        if not _error(states[:1], task) <= loaded.self_check.bound:
            # What earlier batches gave is dropped: all parts are measured in the same way. Ticks
            # never fall, so they stay where they are until the single runs are through.
            with while_done("layer", index + 1, len(starts)):
                found = _one_by_one(loaded, task)
            tick("layer", len(starts), len(starts))
            return found
        found.add(logits[0], list(logits[1:]))
    return found


def _one_by_one(loaded: LoadedModel, task: _Task) -> _Measured:
    """Measure every row in a run of its own.

    Raises:
        NotExactError: the model does not do again what it did in the graph's run.
    """
    found, count = _Measured(task), len(task.rows) + 1
    with portion(0, count):
        (original,), states = knocked_out(loaded, task.ids, [()])
    error, bound = _error(states, task), loaded.self_check.bound
    if not error <= bound:
        raise NotExactError(
            f"The same prompt run again differs by {error:.1e} from the graph's run, and the bound "
            f"is {bound:.0e}: the effect of a part cannot be told from that."
        )
    for index, row in enumerate(task.rows, 1):
        with portion(index, count):
            (changed,), _ = knocked_out(loaded, task.ids, [row])
        found.add(original, [changed])
    return found


def _error(states: Float[Tensor, "row d_model"], task: _Task) -> float:
    """How far the last state of a run without changes is from that of the graph's run."""
    return relative_error(states, task.state[None])


def _batch_rows(loaded: LoadedModel, length: int) -> int:
    """How many rows of a prompt may run at once."""
    facts, cpu = loaded.facts, loaded.device.type == "cpu"
    wide = 12 * facts.d_model + 4 * (facts.d_mlp or 4 * facts.d_model)
    # The scores, their softmax and a copy, of the layer that is under way.
    one = 4 * (length * wide + 4 * facts.n_heads * length**2 + 4 * facts.vocab_size)
    fitting = free_bytes("cpu" if cpu else str(loaded.device)) // (4 * one)
    return int(max(1, min(fitting, (CPU_TOKENS if cpu else GPU_TOKENS) // length)))
