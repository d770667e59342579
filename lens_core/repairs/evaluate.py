"""Evaluate edits: does it say the target, in other words too, and did anything else change?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor

from lens_core.edits import WeightEdit, applied
from lens_core.errors import InputError
from lens_core.models import LoadedModel, check_ids
from lens_core.records import plain
from lens_core.repairs.effects import Fluency, Holding, Locality, fluency, locality
from lens_core.repairs.options import RepairOptions
from lens_core.repairs.result import PairState, Repair
from lens_core.repairs.states import said_pairs
from lens_core.repairs.texts import FLUENCY, PROBES
from lens_core.repairs.wanted import Pair, automatic_views, read_pair, rows_of
from lens_core.tokens import vocab_entries

_GREEN = {"kl": 0.02, "same": 0.99, "ratio": 1.01}
_AMBER = {"kl": 0.1, "same": 0.95, "ratio": 1.05}
SHOWN_PROBES = 5
_LEFT_OUT = (1, 2, 4)
"""Tokens cut from a prompt's end to get prompts near it."""


@dataclass(frozen=True)
class Wording:
    """What the model says for one prompt in one wording."""

    prompt: str | None
    prompt_ids: tuple[int, ...]
    target_ids: tuple[int, ...]
    before: PairState
    after: PairState
    automatic: bool = False


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Side by side, before and with some edits."""

    header: Mapping[str, Any]
    edits: tuple[tuple[str, float], ...]
    """(id, strength) of what was evaluated, in order."""
    wanted: tuple[Wording, ...]
    """Efficacy: the repaired prompts themselves."""
    reworded: tuple[Wording, ...]
    """Generalisation: paraphrases that were given, and automatic views."""
    locality: Locality
    near: Locality | None
    """On prompts near the repaired ones."""
    fluency: Fluency
    vocab: Mapping[str, Any] = field(default_factory=dict)

    @property
    def efficacy(self) -> float:
        """Share of the wanted pairs whose target comes out greedily."""
        return _exact(self.wanted)

    @property
    def generalisation(self) -> float | None:
        """The same for the given paraphrases; for the automatic views where none was given."""
        given = [wording for wording in self.reworded if not wording.automatic]
        chosen = given or list(self.reworded)
        return _exact(chosen) if chosen else None

    @property
    def light(self) -> str:
        """green, amber, or red ("side effects")."""
        return traffic_light(self.efficacy, self.locality, self.fluency)

    def to_json(self) -> dict[str, Any]:
        """Plain Python values by the schema lens_core/repair_evaluation/1."""
        return {
            **plain(self.header),
            "edits": plain(self.edits),
            "light": self.light,
            "efficacy": self.efficacy,
            "generalisation": self.generalisation,
            "wanted": [plain(asdict(wording)) for wording in self.wanted],
            "reworded": [plain(asdict(wording)) for wording in self.reworded],
            "locality": plain(asdict(self.locality)),
            "near": None if self.near is None else plain(asdict(self.near)),
            "fluency": plain({**asdict(self.fluency), "ratio": self.fluency.ratio}),
            "vocab": plain(self.vocab),
        }


def traffic_light(efficacy: float, effects: Locality, text: Fluency) -> str:
    """Green, amber or red for what an edit does and what else it changes."""
    if efficacy < 1.0:
        return "red"
    for colour, bounds in (("green", _GREEN), ("amber", _AMBER)):
        calm = effects.kl <= bounds["kl"] and effects.same >= bounds["same"]
        if calm and text.growth <= bounds["ratio"]:
            return colour
    return "red"


def evaluate_repair(
    loaded: LoadedModel,
    outcome: Repair | WeightEdit | Sequence[WeightEdit],
    wanted: Sequence[tuple[str | Tensor, str | Tensor]] | None = None,
    *,
    strength: float | Sequence[float] = 1.0,
    paraphrases: Sequence[tuple[str | Tensor, str | Tensor]] = (),
    probes: Sequence[str | Tensor] = (),
    neighbours: Sequence[str | Tensor] = (),
    builtin: bool = True,
    new_tokens: int = 20,
    template: str | None = None,
    special: str = "default",
) -> Evaluation:
    """What some edits achieve and what else they change, beside the model as it is.

    Args:
        loaded: the model.
        outcome: a repair, an edit, or several edits in the order to apply.
        wanted: pairs of prompt and target; None takes those of the repair, or of the edits' notes.
        strength: 0 to 1.5, one for all edits or one for each.
        paraphrases: pairs of another wording and its target, for generalisation.
        probes: more texts that should not change.
        neighbours: prompts near the wanted ones; by default these, 1, 2 and 4 tokens shorter.
        builtin: whether the built-in probes and texts are used (they need a tokenizer).
        new_tokens: how far continuations are compared; 0 leaves them out.
        template: as in `LoadedModel.tokenize`, for all prompts.
        special: as in `LoadedModel.tokenize`.

    Raises:
        InputError: nothing is wanted, or there is no text to measure on.
        EditError: an edit does not fit the model.
    """
    options = RepairOptions(template=template, special=special)
    edits = _edits(outcome)
    pairs = wanted_pairs(loaded, outcome, wanted, options)
    others = [read_pair(loaded, *pair, options) for pair in paraphrases]
    views = [view for pair in pairs for view in _views(loaded, pair, options)]
    holding: Holding = partial(_held, loaded, edits, strength)
    texts = _texts(loaded, probes, builtin, options)
    near = _near(loaded, pairs, neighbours, options)
    every = _wordings(loaded, [*pairs, *others, *views], holding)
    split = len(pairs), len(pairs) + len(others)
    automatic = tuple(Wording(**{**vars(one), "automatic": True}) for one in every[split[1] :])
    known = FLUENCY if builtin and loaded.tokenizer is not None else ()
    found = Evaluation(
        header={**loaded.header("repair_evaluation"), "input": {"pairs": len(pairs)}},
        edits=tuple(zip((edit.id for edit in edits), _strengths(edits, strength), strict=True)),
        wanted=every[: split[0]],
        reworded=(*every[split[0] : split[1]], *automatic),
        locality=locality(loaded, texts, holding, new_tokens=new_tokens),
        near=locality(loaded, near, holding, new_tokens=new_tokens) if near else None,
        fluency=fluency(
            loaded,
            [loaded.tokenize(text) for text in known] or [ids for _, ids in texts],
            pairs[0].prompt_ids,
            holding,
        ),
    )
    return _with_vocab(loaded, found)


def wanted_pairs(
    loaded: LoadedModel,
    outcome: Repair | WeightEdit | Sequence[WeightEdit],
    wanted: Sequence[tuple[str | Tensor, str | Tensor]] | None,
    options: RepairOptions,
) -> list[Pair]:
    """The pairs that were given, or those that a repair or the notes of edits name.

    What is named has the very tokens that it was repaired with, whatever template is asked for now.

    Raises:
        InputError: there are none.
        PromptError: one of them is empty, or too long.
    """
    if wanted is not None:
        found = [read_pair(loaded, prompt, target, options) for prompt, target in wanted]
    elif isinstance(outcome, Repair):
        own = [pair for pair in outcome.pairs if pair.view_of is None]
        found = [
            Pair(torch.tensor(pair.prompt_ids), torch.tensor(pair.target_ids), pair.prompt)
            for pair in own
        ]
    else:
        notes = [pair for edit in _edits(outcome) for pair in edit.notes.get("pairs", ())]
        found = [_noted(loaded, note) for note in notes]
    if not found:
        raise InputError("Nothing is wanted: give pairs of prompt and target.")
    return found


def _noted(loaded: LoadedModel, note: Mapping[str, Any]) -> Pair:
    """A pair as the notes of an edit keep it, which may come from a file.

    Raises:
        InputError: it is damaged.
    """
    try:
        prompt, target = (torch.tensor(note[name]) for name in ("prompt_ids", "target_ids"))
        text = note["prompt"]
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"The edit notes a pair that cannot be read: {error}.") from error
    if text is not None and not isinstance(text, str):
        raise InputError(f"The edit notes a prompt that is no text: {text!r}.")
    return Pair(check_ids(loaded, prompt), check_ids(loaded, target), text)


def _edits(outcome: Repair | WeightEdit | Sequence[WeightEdit]) -> tuple[WeightEdit, ...]:
    if isinstance(outcome, Repair):
        return () if outcome.edit is None else (outcome.edit,)
    return (outcome,) if isinstance(outcome, WeightEdit) else tuple(outcome)


def _held(
    loaded: LoadedModel, edits: Sequence[WeightEdit], strength: float | Sequence[float]
) -> AbstractContextManager[None]:
    return applied(loaded, *edits, strength=strength)


def _strengths(edits: Sequence[WeightEdit], strength: float | Sequence[float]) -> tuple[float, ...]:
    if isinstance(strength, (int, float)):
        return (float(strength),) * len(edits)
    return tuple(float(one) for one in strength)


def _wordings(loaded: LoadedModel, pairs: Sequence[Pair], holding: Holding) -> tuple[Wording, ...]:
    rows = rows_of(pairs)
    before = said_pairs(loaded, rows)
    with holding():
        after = said_pairs(loaded, rows)
    return tuple(
        Wording(
            pair.prompt, tuple(pair.prompt_ids.tolist()), tuple(pair.target_ids.tolist()), was, now
        )
        for pair, was, now in zip(pairs, before, after, strict=True)
    )  # fmt: skip


def _views(loaded: LoadedModel, pair: Pair, options: RepairOptions) -> list[Pair]:
    """The automatic other wordings of a pair."""
    if pair.prompt is None:
        return []
    return [
        read_pair(loaded, view, pair.target_ids, options) for view in automatic_views(pair.prompt)
    ]


def _texts(
    loaded: LoadedModel, probes: Sequence[str | Tensor], builtin: bool, options: RepairOptions
) -> list[tuple[str | None, Tensor]]:
    """What locality is measured on.

    Raises:
        InputError: there is none.
    """
    own = PROBES if builtin and loaded.tokenizer is not None else ()
    texts = [_read(loaded, text, options) for text in (*own, *probes)]
    if not texts:
        raise InputError("There are no probes: give texts that should not change.")
    return texts


def _read(
    loaded: LoadedModel, text: str | Tensor, options: RepairOptions
) -> tuple[str | None, Tensor]:
    if isinstance(text, str):
        return text, loaded.tokenize(text, template=options.template, special=options.special)
    return None, text


def _near(
    loaded: LoadedModel,
    pairs: Sequence[Pair],
    neighbours: Sequence[str | Tensor],
    options: RepairOptions,
) -> list[tuple[str | None, Tensor]]:
    """Prompts near the repaired ones."""
    if neighbours:
        return [_read(loaded, text, options) for text in neighbours]
    return [
        (None, pair.prompt_ids[:-count])
        for pair in pairs
        for count in _LEFT_OUT
        if len(pair.prompt_ids) > count
    ]


def _exact(wordings: Sequence[Wording]) -> float:
    return sum(wording.after.greedy_exact for wording in wordings) / len(wordings)


def _with_vocab(loaded: LoadedModel, found: Evaluation) -> Evaluation:
    ids: set[int] = set()
    for wording in (*found.wanted, *found.reworded):
        ids.update(wording.prompt_ids, wording.target_ids)
        ids.update(wording.before.greedy, wording.after.greedy)
    for effects in (found.locality, found.near):
        for probe in () if effects is None else effects.probes[:SHOWN_PROBES]:
            ids.update(probe.ids, probe.before, probe.after)
    entries = vocab_entries(loaded.tokenizer, sorted(ids))
    return Evaluation(**{**vars(found), "vocab": {str(k): v for k, v in entries.items()}})
