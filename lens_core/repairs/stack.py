"""Edits on top of one another: which repairs still hold, and when to stop.

Repairs made one after another can ruin a model although each looked harmless, so a stack is
measured as a whole: the retention of every repair, and a guard on what all of them did together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from torch import Tensor

from lens_core.edits import WeightEdit, applied
from lens_core.errors import InputError
from lens_core.models import LoadedModel
from lens_core.progress import tick
from lens_core.records import plain
from lens_core.repairs.effects import locality
from lens_core.repairs.evaluate import Evaluation, evaluate_repair, wanted_pairs
from lens_core.repairs.options import RepairOptions
from lens_core.repairs.result import Repair
from lens_core.repairs.states import said_pairs
from lens_core.repairs.texts import PROBES
from lens_core.repairs.wanted import rows_of

COLLAPSE = {"kl": 0.1, "ratio": 1.05}
"""Beyond this, more edits would build on a damaged model: nats, and perplexity after by before."""
STRENGTHS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5)


@dataclass(frozen=True)
class Retained:
    """One repair of a stack, with all of them applied."""

    id: str
    strength: float
    pairs: tuple[dict[str, Any], ...]
    """Prompt, prompt_ids, target_ids, and as `state` what the model says now (`PairState`)."""

    @property
    def share(self) -> float | None:
        """Of its targets that still come out greedily; None where the edit names none."""
        if not self.pairs:
            return None
        return sum(pair["state"]["greedy_exact"] for pair in self.pairs) / len(self.pairs)


@dataclass(frozen=True, eq=False)
class StackCheck:
    """What a stack of edits does as a whole."""

    retained: tuple[Retained, ...]
    """In the order of the stack."""
    evaluation: Evaluation

    @property
    def retention(self) -> float | None:
        """Mean over the repairs that say what they are for."""
        shares = [share for one in self.retained if (share := one.share) is not None]
        return sum(shares) / len(shares) if shares else None

    @property
    def collapse(self) -> str | None:
        """Why no further edit should be added, and the last one undone; None while all is well."""
        kl, ratio = self.evaluation.locality.kl, self.evaluation.fluency.growth
        if kl > COLLAPSE["kl"]:
            return f"The mean KL on unrelated text is {kl:.3g}; the limit is {COLLAPSE['kl']}."
        if ratio > COLLAPSE["ratio"]:
            return (
                f"The perplexity of ordinary text has grown by {ratio:.3g}; the limit is "
                f"{COLLAPSE['ratio']}."
            )
        return None

    def to_json(self) -> dict[str, Any]:
        """Plain Python values by the schema lens_core/repair_stack/1."""
        found = self.evaluation.to_json()
        return {
            **found,
            "schema": "lens_core/repair_stack/1",
            "retention": self.retention,
            "collapse": self.collapse,
            "retained": [{**plain(asdict(one)), "share": one.share} for one in self.retained],
        }


def check_stack(
    loaded: LoadedModel,
    edits: Sequence[WeightEdit],
    *,
    strength: float | Sequence[float] = 1.0,
    **arguments: Any,
) -> StackCheck:
    """Whether every repair of a stack still holds, and what all of them changed together.

    Args:
        loaded: the model without the edits.
        edits: in the order in which they are applied.
        strength: 0 to 1.5, one for all or one for each.
        arguments: those of `evaluate_repair`: probes, neighbours, template, ...

    Raises:
        InputError: no edit names a prompt.
        EditError: an edit does not fit the model, or not on the ones before it.
    """
    if not edits:
        raise InputError("The stack has 0 edits; the least is 1.")
    single = isinstance(strength, (int, float))
    strengths = [strength] * len(edits) if single else list(strength)  # pyright: ignore
    with applied(loaded, *edits, strength=strengths):
        retained = tuple(
            Retained(edit.id, float(one), _said_of(loaded, edit))
            for edit, one in zip(edits, strengths, strict=True)
        )
    return StackCheck(retained, evaluate_repair(loaded, edits, strength=strengths, **arguments))


def _said_of(loaded: LoadedModel, edit: WeightEdit) -> tuple[dict[str, Any], ...]:
    """What the model says now for the prompts that an edit was made for."""
    if not edit.notes.get("pairs"):
        return ()
    pairs = wanted_pairs(loaded, edit, None, RepairOptions())
    states = said_pairs(loaded, rows_of(pairs))
    named = ("prompt", "prompt_ids", "target_ids")
    return tuple(
        {**{name: note[name] for name in named}, "state": asdict(state)}
        for note, state in zip(edit.notes["pairs"], states, strict=True)
    )


@dataclass(frozen=True)
class StrengthPoint:
    """What edits do at one strength."""

    strength: float
    margin: float
    """The smallest of all wanted tokens, in logits."""
    greedy_exact: float
    """Share of the wanted pairs."""
    kl: float
    """Mean over the probes, in nats."""
    same: float
    """Share of unchanged most likely tokens."""


def strength_curve(
    loaded: LoadedModel,
    outcome: Repair | WeightEdit | Sequence[WeightEdit],
    *,
    strengths: Sequence[float] = STRENGTHS,
    probes: Sequence[str | Tensor] = PROBES,
    template: str | None = None,
    special: str = "default",
) -> tuple[StrengthPoint, ...]:
    """How success and side effects grow with the strength of an edit.

    Raises:
        InputError: nothing is wanted.
        EditError: a strength outside 0 to 1.5, or an edit that does not fit.
    """
    if isinstance(outcome, Repair):
        edits = () if outcome.edit is None else (outcome.edit,)
    else:
        edits = (outcome,) if isinstance(outcome, WeightEdit) else tuple(outcome)
    arguments: dict[str, Any] = {"template": template, "special": special}
    wanted = rows_of(wanted_pairs(loaded, outcome, None, RepairOptions(**arguments)))
    texts = [
        (None, loaded.tokenize(text, **arguments) if isinstance(text, str) else text)
        for text in probes
    ]
    points = []
    for index, strength in enumerate(strengths):
        holding = partial(applied, loaded, *edits, strength=strength)
        with holding():
            states = said_pairs(loaded, wanted)
        effects = locality(loaded, texts, holding, new_tokens=0)
        exact = sum(state.greedy_exact for state in states) / len(states)
        margin = min(state.margin for state in states)
        points.append(StrengthPoint(float(strength), margin, exact, effects.kl, effects.same))
        tick("strength", index + 1, len(strengths))
    return tuple(points)
