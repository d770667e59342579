"""What is worked out for single positions: candidates, attribution, important layers, steps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Int

from lens_core.lens.attribution import Attribution, attribute_logit
from lens_core.lens.options import chosen_indices
from lens_core.lens.position import (
    Course,
    ImportantLayers,
    Tracked,
    important_layers,
    position_course,
    track,
)
from lens_core.progress import tick

if TYPE_CHECKING:
    from lens_core.lens.options import Options
    from lens_core.lens.run import LensRun
    from lens_core.models import LoadedModel


@dataclass(frozen=True, eq=False)
class Step:
    """One generated token: how likely it was after every layer."""

    position: int
    """The position it was predicted from."""
    id: int
    p: Float[np.ndarray, " depth"]
    """Depth 0 is the embedding, depth l + 1 the output of layer l."""
    rank: Int[np.ndarray, " depth"]
    """Tokens that were more likely there."""
    final_p: float
    """In the model's own prediction, whatever states are read through."""
    important_layers: ImportantLayers


@dataclass(frozen=True, eq=False)
class Focus:
    """All of it; empty where no position is followed."""

    tracked: tuple[Tracked, ...] = ()
    attribution: Attribution | None = None
    important_layers: ImportantLayers | None = None
    steps: tuple[Step, ...] = ()


def focus(loaded: LoadedModel, run: LensRun, options: Options) -> Focus:
    """The position that is followed, and every generated token."""
    if options.track_position is None:
        return Focus()
    length = len(run.ids)
    (position,) = chosen_indices("track_position", [options.track_position], length)
    places = range(run.n_prompt - 1, length - 1)
    count = 1 + len(places)
    course = position_course(loaded, run.trace, position, norm=options.reads_norm)
    tick("readout", 1, count)
    target = options.followed[0] if options.followed else int(course.final.argmax())
    exact = loaded.self_check.reason_off("attribution") is None and options.reads_norm
    steps = []
    for done, place in enumerate(places, 2):
        steps.append(_step(loaded, run, options, place))
        tick("readout", done, count)
    return Focus(
        (track(course, options.k, chosen=options.followed),),
        attribute_logit(loaded, run.trace, position, target) if exact else None,
        _important(loaded, run, options, course, target=target),
        tuple(steps),
    )


def _step(loaded: LoadedModel, run: LensRun, options: Options, position: int) -> Step:
    """How the token generated after `position` rose through the layers."""
    token = int(run.ids[position + 1])
    course = position_course(loaded, run.trace, position, norm=options.reads_norm)
    chosen = course.log_probs[:, token]
    rank = (course.log_probs > chosen[:, None]).sum(1)
    return Step(
        position,
        token,
        chosen.exp().cpu().numpy(),
        rank.cpu().numpy(),
        float(course.final[token].exp()),
        _important(loaded, run, options, course, target=token),
    )


def _important(
    loaded: LoadedModel, run: LensRun, options: Options, course: Course, *, target: int
) -> ImportantLayers:
    return important_layers(
        loaded,
        run.trace,
        course,
        criterion=options.important,
        threshold=options.threshold,
        target=target,
        k=options.k,
        compat=options.compat,
    )
