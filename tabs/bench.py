"""What operations work with, and the edit that holds while one of them runs."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tabs.requests import Request

if TYPE_CHECKING:
    from lens_core.held import Held
    from lens_core.lens import LensRun
    from lens_core.models import LoadedModel
    from lens_core.pool import ModelPool
    from lens_core.settings import TokenLimits
    from lens_core.tree import GraphRun


@dataclass(frozen=True)
class Bench:
    """What operations work with: the loaded models, the limits, and forward passes still held."""

    pool: ModelPool
    limits: TokenLimits
    lens_runs: Held[LensRun]
    graph_runs: Held[GraphRun]


def edited(loaded: LoadedModel, request: Request) -> ExitStack:
    """The request's edit, to be held for a block; nothing when it has none."""
    stack = ExitStack()
    if request.edit is None:
        return stack
    from lens_core import WeightEdit, applied

    stack.enter_context(applied(loaded, WeightEdit.from_json(request.edit)))
    return stack
