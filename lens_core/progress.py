"""How far a run is, for whoever listens: the science ticks, and knows nothing of progress bars.

A listener belongs to the thread (and the context) that set it; without one a tick costs next to
nothing. It may raise, `Stopped` for instance, to end the run: hooks, edits and locks are undone on
the way out as after any other exception.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeAlias

Listener: TypeAlias = Callable[[str, int, int], None]
"""Called with what is counted ("token" generated, "layer" passed, block of a "readout", "prompt"
read), how many are done, and how many there are. done / total never falls while one thing is
counted."""

_LISTENER: ContextVar[Listener | None] = ContextVar("listener", default=None)


class Stopped(Exception):
    """The listener wants no more of this run; no `LensError`, since nothing is wrong."""


@contextmanager
def reported(listener: Listener) -> Iterator[None]:
    """Report the ticks of the block to `listener`, and to it alone."""
    before = _LISTENER.set(listener)
    try:
        yield
    finally:
        _LISTENER.reset(before)


def tick(what: str, done: int, total: int) -> None:
    """Say that `done` of `total` are done; `what` is "token", "layer", "readout" or "prompt"."""
    listener = _LISTENER.get()
    if listener is not None:
        listener(what, done, total)


@contextmanager
def portion(index: int, count: int) -> Iterator[None]:
    """Count what the block ticks as the portion `index` of `count` equal ones, from 0."""
    listener = _LISTENER.get()
    if listener is None:
        yield
        return

    def shifted(what: str, done: int, total: int) -> None:
        listener(what, index * total + done, count * total)

    with reported(shifted):
        yield


@contextmanager
def while_done(what: str, done: int, total: int) -> Iterator[None]:
    """Count every tick of the block as `done` of `total` of something larger."""
    listener = _LISTENER.get()
    if listener is None:
        yield
        return
    with reported(lambda *_: listener(what, done, total)):
        yield
