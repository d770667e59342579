"""A run in a thread of its own, with what it is doing told on the way and an end at any time."""

from __future__ import annotations

from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any

POLL_S = 0.1
"""How often the page hears of a run that goes on."""


@dataclass(frozen=True)
class Progress:
    """What is being done: a key of the words, its values, and how far it is."""

    key: str
    values: dict[str, Any]
    done: int = 0
    total: int = 0


class _Listener:
    """Hears how far a run is, and stops it when nobody waits for it any more."""

    def __init__(self) -> None:
        self.progress: Progress | None = None
        self.stopped = False

    def __call__(self, what: str, done: int, total: int) -> None:
        from lens_core.progress import Stopped

        if self.stopped:
            raise Stopped
        self.progress = Progress(f"status.{what}", {"done": done, "total": total}, done, total)


def in_background(work: Callable[[], Any]) -> Generator[Progress, None, Any]:
    """Run `work` in a thread and yield its progress; returns its result or raises its error.

    Closing the generator stops the run at its next tick. It is a thread because the lock that an
    edit holds belongs to one thread, and the next step of a generator may come from another.
    """
    listener = _Listener()

    def heard() -> Any:
        from lens_core.progress import reported

        with reported(listener):
            return work()

    executor = ThreadPoolExecutor(max_workers=1)
    future = executor.submit(heard)
    executor.shutdown(wait=False)
    try:
        said = None
        while not wait([future], timeout=POLL_S).done:
            if listener.progress not in (said, None):
                said = listener.progress
                yield said
        return future.result()
    finally:
        listener.stopped = True
