"""Pairs as a stream: read a window of them, run it, keep its metrics, write its states away."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from dataclasses import dataclass, field
from itertools import islice

import numpy as np
import torch
from jaxtyping import Float

from lens_core.difference.metrics import (
    OF_LENS,
    OF_STATES,
    lens_divergences,
    state_metrics,
    top_share,
)
from lens_core.difference.options import Options
from lens_core.difference.reading import Group, LeftOut, PairOrAligned, ReadyPair, read_pairs
from lens_core.difference.result import PairStep
from lens_core.difference.resuming import Window, WindowFolder
from lens_core.difference.running import Text, vectors_at
from lens_core.difference.sites import UNTESTED, Layout, layout_of
from lens_core.difference.store import StateFile
from lens_core.difference.units import PairKey, pair_key
from lens_core.errors import InputError
from lens_core.models import LoadedModel
from lens_core.progress import while_done

WINDOW = 64
"""Pairs whose states are in memory together."""
_VALUES = 2**20
"""Entries of a site that are compared at once."""


@dataclass(eq=False)
class Collected:
    """What is kept of every pair: nothing that grows with d_model."""

    ready: list[ReadyPair] = field(default_factory=list)
    keys: list[PairKey] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)
    rows: dict[str, list[np.ndarray]] = field(default_factory=dict)
    """By metric, one array [pair, site] a window."""
    prefix_rel_err: float | None = None

    def metrics(self) -> dict[str, Float[np.ndarray, "pair site"]]:
        """By name."""
        return {name: np.concatenate(rows) for name, rows in self.rows.items()}


def collect(
    loaded: LoadedModel, pairs: Iterable[PairOrAligned], options: Options, states: StateFile
) -> Generator[PairStep, None, Collected]:
    """Run all pairs, a window at a time, and answer what was collected.

    Raises:
        InputError: no pair could be read, the edits changed on the way, or `resume` is no folder
            to write in.
    """
    total = len(pairs) if hasattr(pairs, "__len__") else None  # type: ignore[arg-type]
    edits, found, windows = loaded.active_edits, Collected(), _windows(loaded, options)
    stream = read_pairs(
        loaded,
        pairs,
        readout=options.readout,
        max_tokens=options.max_tokens,
        template=options.template,
        special=options.special,
        same_positions=options.same_positions,
    )
    while window := list(islice(stream, WINDOW)):
        if loaded.active_edits != edits:
            raise InputError("The edits changed while pairs were compared; start again.")
        before = len(found.ready) + len(found.left_out)
        found.left_out += [one for one in window if isinstance(one, LeftOut)]
        ready = [one for one in window if isinstance(one, ReadyPair)]
        # Without a known total the share still grows from window to window.
        with while_done("prompt", before, before + len(window) if total is None else total):
            if ready:
                _add_window(loaded, ready, options, found, states, windows)
        done = len(found.ready) + len(found.left_out)
        yield PairStep("pairs", done, total, len(found.left_out))
    if not found.ready:
        reason = f" The first: {found.left_out[0].reason}" if found.left_out else ""
        raise InputError(
            f"None of {len(found.left_out)} pairs can be compared; the least is 1.{reason}"
        )
    return found


def _windows(loaded: LoadedModel, options: Options) -> WindowFolder | None:
    """Where finished windows are kept, if anywhere."""
    if options.resume is None:
        return None
    how = {"lens": options.lens, "batch_tokens": options.batch_tokens}
    return WindowFolder.of(options.resume, loaded, options.sites, **how)


def _add_window(
    loaded: LoadedModel,
    ready: list[ReadyPair],
    options: Options,
    found: Collected,
    states: StateFile,
    windows: WindowFolder | None,
) -> None:
    window = None if windows is None else windows.read(ready)
    if window is None:
        window = _run_window(loaded, ready, options)
        if windows is not None:
            windows.write(ready, window)
    for name, rows in window.metrics.items():
        found.rows.setdefault(name, []).append(rows)
    found.prefix_rel_err = _larger(found.prefix_rel_err, window.prefix_rel_err)
    found.ready += ready
    found.keys += [pair_key(loaded, one) for one in ready]
    states.append(window.states)


def _run_window(loaded: LoadedModel, ready: list[ReadyPair], options: Options) -> Window:
    layout = layout_of(loaded, options.sites)
    stored = layout.offsets[len(options.tested)]
    both, error = _window_states(loaded, ready, options, layout)
    metrics = _window_metrics(loaded, both, options, layout)
    found = {name: rows.astype(np.float32) for name, rows in metrics.items()}
    return Window(both[:, :, :stored], found, error)


def _window_states(
    loaded: LoadedModel, ready: list[ReadyPair], options: Options, layout: Layout
) -> tuple[Float[np.ndarray, "pair side entry"], float | None]:
    """Both sides' states, and the largest difference before an edit at the sites with states."""
    wanted: dict[Text, dict[Group, None]] = {}
    checks = [_before_edit(one) for one in ready]
    for one, check in zip(ready, checks, strict=True):
        for text, group in zip(one.texts, one.groups, strict=True):
            groups = wanted.setdefault(text, {})
            groups[group] = None
            if check is not None:
                groups[check] = None
    parts = [layout.part(site) for site in range(len(options.tested))]
    texts = {text: tuple(groups) for text, groups in wanted.items()}
    seen = vectors_at(loaded, texts, options.sites, batch_tokens=options.batch_tokens)
    error = None
    for one, check in zip(ready, checks, strict=True):
        if check is not None:
            first, second = (seen[text, check] for text in one.texts)
            for part in parts:
                error = _larger(error, _prefix_error(first[part], second[part]))
    both = np.stack(
        [
            np.stack([seen[text, group] for text, group in zip(one.texts, one.groups, strict=True)])
            for one in ready
        ]
    )
    return both, error


def _before_edit(one: ReadyPair) -> Group | None:
    """The last position of the prefix, where both sides must be equal by causality."""
    at = one.alignment.prefix - 1
    return None if at < 0 or one.same else (at,)


def _prefix_error(first: Float[np.ndarray, " dim"], second: Float[np.ndarray, " dim"]) -> float:
    return float(np.abs(first - second).max() / max(float(np.abs(first).max()), 1e-30))


def _larger(known: float | None, error: float | None) -> float | None:
    """The larger of two errors; one that is no number is larger than all."""
    if known is None or error is None:
        return error if known is None else known
    return known if error <= known else error


def _window_metrics(
    loaded: LoadedModel,
    both: Float[np.ndarray, "pair side entry"],
    options: Options,
    layout: Layout,
) -> dict[str, np.ndarray]:
    """What can be said of these pairs without the others, [pair, site]."""
    shape = (len(both), len(options.sites))
    found = {name: np.full(shape, np.nan) for name in (*OF_STATES, *OF_LENS, "top_share")}
    for site, (component, _) in enumerate(options.sites):
        at_once = max(1, _VALUES // layout.widths[site])
        for start in range(0, len(both), at_once):
            rows = slice(start, start + at_once)
            first, second = both[rows, 0, layout.part(site)], both[rows, 1, layout.part(site)]
            for name, values in state_metrics(first, second).items():
                found[name][rows, site] = values
            if component in UNTESTED:
                found["top_share"][rows, site] = top_share(first - second)
    read = [at for at, (component, _) in enumerate(options.sites) if component == "resid_post"]
    if options.lens and read:
        # The stream comes first, and all of it has one width.
        width = layout.widths[0]
        states = both[:, :, : len(read) * width].reshape(len(both), 2, len(read), width)
        for name, values in zip(OF_LENS, _lens(loaded, states), strict=True):
            found[name][:, read] = values
    return found


def _lens(
    loaded: LoadedModel, both: Float[np.ndarray, "pair side site d_model"]
) -> Float[np.ndarray, "metric pair site"]:
    width = both.shape[-1]
    sides = [torch.from_numpy(np.ascontiguousarray(both[:, side])) for side in (0, 1)]
    first, second = (one.reshape(-1, width) for one in sides)
    with loaded.lock:
        found = lens_divergences(loaded.readout, first, second)
    return found.reshape(3, *sides[0].shape[:2]).numpy()
