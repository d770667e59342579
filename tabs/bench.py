"""What operations work with, and the edit that holds while one of them runs."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tabs.requests import Request

if TYPE_CHECKING:
    from lens_core import WeightEdit
    from lens_core.held import Held
    from lens_core.lens import LensRun
    from lens_core.models import LoadedModel
    from lens_core.pool import ModelPool
    from lens_core.repairs import RepairBasis
    from lens_core.settings import TokenLimits
    from lens_core.tree import GraphRun


@dataclass(frozen=True)
class Bench:
    """What operations work with: the loaded models, the limits, and what is still held of runs."""

    pool: ModelPool
    limits: TokenLimits
    lens_runs: Held[LensRun]
    graph_runs: Held[GraphRun]
    repair_bases: Held[RepairBasis]
    pair_windows: Path
    """A folder of what was run of pairs, by all that it depends on: it is not run again."""


def edited(loaded: LoadedModel, request: Request) -> ExitStack:
    """The request's edits, to be held for a block; nothing when it has none."""
    stack = ExitStack()
    if request.edit is not None:
        from lens_core import applied

        strengths = [held.strength for held in request.edit]
        stack.enter_context(applied(loaded, *edits_of(request), strength=strengths))
    return stack


def edits_of(request: Request) -> list[WeightEdit]:
    """The request's edits, in the order in which they are applied.

    Raises:
        EditError: one of them is damaged.
    """
    from lens_core import WeightEdit

    return [WeightEdit.from_json(held.edit) for held in request.edit or ()]
