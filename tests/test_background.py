"""A run in a thread: what it says on the way, what it gives, and how it ends early."""

from __future__ import annotations

import threading
from collections.abc import Generator
from typing import Any

import pytest

from lens_core.errors import PromptError
from lens_core.progress import Stopped, tick
from tabs.background import Progress, in_background, in_place

LONG = 30.0
"""Seconds after which a test gives up; nothing waits so long."""


def told(steps: Generator[Progress, None, Any]) -> tuple[list[Progress], Any]:
    """What a run says, and its result."""
    said = []
    while True:
        try:
            said.append(next(steps))
        except StopIteration as end:
            return said, end.value


class Ticking:
    """Work that ticks whenever it is let go on, and keeps what became of it."""

    def __init__(self, total: int = 1_000_000) -> None:
        self.total = total
        self.go = threading.Semaphore(0)
        self.ticks = 0
        self.lock = threading.RLock()
        self.outcome: BaseException | str | None = None
        self.ended = threading.Event()

    def __call__(self) -> str:
        try:
            with self.lock:
                for done in range(1, self.total + 1):
                    assert self.go.acquire(timeout=LONG)
                    tick("layer", done, self.total)
                    self.ticks = done
            self.outcome = "result"
        except BaseException as error:
            self.outcome = error
            raise
        finally:
            self.ended.set()
        return "result"


def test_a_run_gives_its_result() -> None:
    assert told(in_background(lambda: 42)) == ([], 42)


def test_the_progress_says_what_is_done_and_how_far_it_is() -> None:
    work = Ticking(total=3)
    steps = in_background(work)
    for done in (1, 2):
        work.go.release()
        assert next(steps) == Progress("status.layer", {"done": done, "total": 3}, done, 3)
    work.go.release()
    assert told(steps)[1] == "result"


def test_what_was_said_is_not_said_again() -> None:
    work = Ticking(total=2)
    steps = in_background(work)
    work.go.release()
    assert next(steps) == Progress("status.layer", {"done": 1, "total": 2}, 1, 2)
    threading.Timer(0.35, work.go.release).start()  # three polls with nothing new
    said, _ = told(steps)
    assert all(one.done == 2 for one in said)


@pytest.mark.parametrize("error", [PromptError("The prompt is empty."), ZeroDivisionError("bug")])
def test_an_error_comes_back_as_it_was_raised(error: Exception) -> None:
    def fail() -> None:
        raise error

    with pytest.raises(type(error)) as caught:
        told(in_background(fail))
    assert caught.value is error


def test_closing_stops_the_work_at_its_next_tick_and_frees_its_locks() -> None:
    work = Ticking()
    steps = in_background(work)
    work.go.release()
    next(steps)
    steps.close()
    assert not work.ended.is_set(), "it stops at a tick, not between them"
    work.go.release()
    assert work.ended.wait(LONG)
    assert isinstance(work.outcome, Stopped)
    assert work.ticks == 1
    assert work.lock.acquire(timeout=LONG), "the lock must be free for another thread"


def test_a_generator_that_is_dropped_stops_its_work_too() -> None:
    work = Ticking()
    steps = in_background(work)
    work.go.release()
    next(steps)
    del steps
    work.go.release()
    assert work.ended.wait(LONG)
    assert isinstance(work.outcome, Stopped)


def test_two_runs_hear_only_themselves() -> None:
    works = [Ticking(total=2), Ticking(total=3)]
    runs = [in_background(work) for work in works]
    for work in works:
        work.go.release()
    assert [next(run).total for run in runs] == [2, 3]
    for work in works:
        work.go.release(2)
    assert [told(run)[1] for run in runs] == ["result", "result"]


def test_the_next_step_may_come_from_another_thread() -> None:
    """Gradio does so; the lock that an edit holds belongs to the thread that took it."""
    work = Ticking(total=2)
    steps = in_background(work)
    found: list[Any] = []
    for take in (lambda: next(steps), lambda: told(steps)[1]):
        work.go.release()
        thread = threading.Thread(target=lambda take=take: found.append(take()))
        thread.start()
        thread.join(LONG)
        assert not thread.is_alive()
    assert found == [Progress("status.layer", {"done": 1, "total": 2}, 1, 2), "result"]


class Giving:
    """Work that gives a detail whenever it is let go on."""

    def __init__(self, details: int = 1_000_000) -> None:
        self.details = details
        self.go = threading.Semaphore(0)
        self.given = 0
        self.ended = threading.Event()
        self.lock = threading.RLock()

    def __call__(self) -> Generator[int, None, str]:
        try:
            with self.lock:
                for detail in range(1, self.details + 1):
                    assert self.go.acquire(timeout=LONG)
                    self.given = detail
                    yield detail
        finally:
            self.ended.set()
        return "result"


def test_details_come_in_order_and_each_once() -> None:
    work = Giving(details=20)
    steps = in_background(work)
    work.go.release()
    first = next(steps)
    assert first == Progress("status.running", {}, detail=(1,))
    work.go.release(19)
    said, result = told(steps)
    assert result == "result"
    assert [one for progress in said for one in progress.detail] == [*range(2, 21)]


def test_details_come_with_what_the_run_is_doing() -> None:
    def work() -> Generator[str, None, str]:
        tick("epoch", 3, 7)
        yield "detail"
        return "result"

    said, result = told(in_background(work))
    assert said[-1] == Progress("status.epoch", {"done": 3, "total": 7}, 3, 7, ("detail",))
    assert result == "result"


def test_an_error_after_details_comes_back_after_them() -> None:
    def work() -> Generator[int, None, None]:
        yield 1
        raise PromptError("The prompt is empty.")

    steps = in_background(work)
    assert next(steps).detail == (1,)
    with pytest.raises(PromptError):
        told(steps)


def test_closing_stops_work_that_only_gives_details() -> None:
    work = Giving()
    steps = in_background(work)
    work.go.release()
    next(steps)
    steps.close()
    work.go.release()
    assert work.ended.wait(LONG)
    assert work.given <= 2
    assert work.lock.acquire(timeout=LONG), "the lock must be free for another thread"


def test_in_place_gives_the_same_without_a_thread() -> None:
    assert told(in_place(lambda: 42)) == ([], 42)
    work = Giving(details=3)
    work.go.release(3)
    said, result = told(in_place(work))
    assert [one.detail for one in said] == [(1,), (2,), (3,)]
    assert result == "result"


def test_what_is_dropped_in_place_ends_its_work() -> None:
    work = Giving()
    work.go.release(2)
    steps = in_place(work)
    next(steps)
    steps.close()
    assert work.ended.is_set()
