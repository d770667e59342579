"""A run in a thread of its own, with what it is doing told on the way and an end at any time."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import closing
from dataclasses import dataclass, replace
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
    detail: tuple[Any, ...] = ()
    """What the run itself has given since the last progress, in order."""


_RUNNING = Progress("status.running", {})
"""What is said of a run that has not said yet what it does."""


class _Listener:
    """Hears how far a run is, and stops it when nobody waits for it any more."""

    def __init__(self) -> None:
        self.progress = _RUNNING
        self.stopped = False
        self._details: deque[Any] = deque()

    def __call__(self, what: str, done: int, total: int) -> None:
        self._check()
        self.progress = Progress(f"status.{what}", {"done": done, "total": total}, done, total)

    def result_of(self, steps: Generator[Any, None, Any]) -> Any:
        """The result of a run that gives details on the way, which are kept."""
        with closing(steps):
            while True:
                try:
                    self._details.append(next(steps))
                except StopIteration as end:
                    return end.value
                self._check()

    def taken(self) -> tuple[Any, ...]:
        """The details that are new, each handed out once."""
        # One by one: the run adds to them meanwhile.
        return tuple(self._details.popleft() for _ in range(len(self._details)))

    def _check(self) -> None:
        from lens_core.progress import Stopped

        if self.stopped:
            raise Stopped


def in_background(work: Callable[[], Any]) -> Generator[Progress, None, Any]:
    """Run `work` in a thread and yield its progress; returns its result or raises its error.

    Where `work` is a generator function, what it yields comes as the details of the progress, and
    what it returns is the result. Closing the generator stops the run at its next tick or detail.
    It is a thread because the lock that an edit holds belongs to one thread, and the next step of a
    generator may come from another.
    """
    listener = _Listener()

    def heard() -> Any:
        from lens_core.progress import reported

        with reported(listener):
            found = work()
            return listener.result_of(found) if isinstance(found, Generator) else found

    executor = ThreadPoolExecutor(max_workers=1)
    future = executor.submit(heard)
    executor.shutdown(wait=False)
    try:
        said = _RUNNING
        while not wait([future], timeout=POLL_S).done:
            details = listener.taken()
            if details or listener.progress != said:
                said = listener.progress
                yield replace(said, detail=details)
        if details := listener.taken():
            yield replace(listener.progress, detail=details)
        return future.result()
    finally:
        listener.stopped = True


def in_place(work: Callable[[], Any]) -> Generator[Progress, None, Any]:
    """The same without a thread, for a process that has only this to do; it hears no ticks."""
    found = work()
    if not isinstance(found, Generator):
        return found
    with closing(found):
        while True:
            try:
                detail = next(found)
            except StopIteration as end:
                return end.value
            yield replace(_RUNNING, detail=(detail,))
