"""Importance for models of which only the answers are seen: mask a part, and see what changes.

Every unit of the prompt is masked once (occlusion), and the change of the output is its
importance; or units are masked together, and share the change (Shapley values). An endpoint that
does not repeat itself is asked the same several times first: what that alone changes is the
noise, and only what exceeds it counts.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, MutableMapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lens_core import records
from lens_core.progress import tick
from lens_core.remote.cache import FolderCache
from lens_core.remote.client import FIRST_WAIT_S, Client, Refused
from lens_core.remote.endpoint import Endpoint
from lens_core.remote.estimate import (
    Estimate,
    check_cap,
    first_units,
    goes_deeper,
    inner_units,
    remote_estimate,
)
from lens_core.remote.observing import Difference, Observer, connected
from lens_core.remote.options import NEIGHBOUR, RemoteOptions
from lens_core.remote.orders import most_sets, plan
from lens_core.remote.result import Noise, RemoteFeature, RemoteImportance, RemoteStep, feature
from lens_core.remote.shapley import Game, explained
from lens_core.remote.talking import CHAT, Talker, neighbours
from lens_core.remote.units import Unit, masked

_WITHOUT_NEIGHBOUR = "…"
"""The mask of a unit for which the model proposes no other word."""


def remote_importance(
    endpoint: Endpoint,
    prompt: str,
    *,
    cache: MutableMapping[str, Any] | str | Path | None = None,
    first_wait_s: float = FIRST_WAIT_S,
    **options: Any,
) -> RemoteImportance:
    """What matters in a prompt to a model behind an OpenAI-compatible endpoint.

    Args:
        endpoint: where, which model, and the key.
        prompt: the text whose parts are masked.
        cache: answers that are kept: a mapping of one's own, or a folder. A run that was stopped
            goes on with it, and one that is repeated sends nothing.
        first_wait_s: the wait before a failed request is tried again, in seconds; it doubles.
        options: the fields of `RemoteOptions`.

    Raises:
        PromptError: there is nothing to mask.
        InputError: an option outside its range, or more requests than `max_requests`, which
            is found before anything is sent.
        ModelError: the endpoint cannot be reached, refuses the key, or does not show what the
            tier needs.
    """
    steps = remote_importance_steps(
        endpoint, prompt, cache=cache, first_wait_s=first_wait_s, **options
    )
    for step in steps:
        if isinstance(step, RemoteImportance):
            return step
    raise AssertionError("the last step is the result")


def remote_importance_steps(
    endpoint: Endpoint,
    prompt: str,
    *,
    cache: MutableMapping[str, Any] | str | Path | None = None,
    first_wait_s: float = FIRST_WAIT_S,
    stop: threading.Event | None = None,
    **options: Any,
) -> Iterator[RemoteStep | RemoteImportance]:
    """`remote_importance` step by step; the last step is the result.

    The first one comes before anything is sent, with the estimate. Dropping the rest sends
    nothing more. Another thread may set `stop` while a step is waited for: nothing more is sent
    from then on, and the run ends with `lens_core.progress.Stopped`.
    """
    asked = RemoteOptions(**options)
    run = _Run(endpoint, prompt, asked, remote_estimate(prompt, asked))
    check_cap(run.estimate, asked)
    yield run.step("estimate")
    kept = FolderCache(cache) if isinstance(cache, (str, Path)) else cache
    with Client(
        endpoint,
        max_requests=asked.max_requests,
        cache={} if kept is None else kept,
        first_wait_s=first_wait_s,
        halted=stop,
    ) as client:
        yield from run.steps(client)


@dataclass(eq=False)
class _Task:
    """A prompt to be asked, for a unit or for the noise."""

    prompt: str
    repeat: int = 0
    unit: Unit | None = None
    mask: str = ""
    parent: Unit | None = None


@dataclass(eq=False)
class _Run:
    """A run and what it has found so far."""

    endpoint: Endpoint
    prompt: str
    options: RemoteOptions
    estimate: Estimate
    started: float = field(default_factory=time.perf_counter)
    client: Client | None = None
    observer: Observer | None = None
    noise: Noise = field(default_factory=Noise)
    found: dict[Unit, tuple[_Task, Difference]] = field(default_factory=dict)
    done: int = 0
    total: int = 0
    game: Game | None = None
    """With Shapley values only."""
    warnings: list[str] = field(default_factory=list)

    def steps(self, client: Client) -> Iterator[RemoteStep | RemoteImportance]:
        """Everything behind the estimate."""
        self.client = client
        self.observer = observer = connected(client, self.prompt, self.options)
        units = first_units(self.prompt, self.options)
        repeats = self.options.repeats_in(observer.tier)
        asked = most_sets(len(units), self.options.samples) if self.options.shares else len(units)
        self.total = repeats + asked
        yield self.step("connected")
        again = [_Task(self.prompt, repeat + 1) for repeat in range(repeats)]
        values = []
        for _, difference in self._asked(again):
            values.append(difference.value)
            yield self.step("noise")
        self.noise = Noise(tuple(values))
        if self.options.shares:
            yield from self._shared(units, repeats)
        else:
            yield from self._masked(units)
        if goes_deeper(self.prompt, self.options):
            for sentence in [u for u in units if self._of(u).above_noise]:
                inner = inner_units([sentence], self.prompt, self.options)
                # A sentence of one word is that word.
                inner = [unit for unit in inner if unit != sentence]
                self.total += len(inner)
                yield from self._masked(inner, parent=sentence)
        yield self.result()

    def _masked(self, units: Sequence[Unit], parent: Unit | None = None) -> Iterator[RemoteStep]:
        masks = self._masks(units)
        tasks = [
            _Task(masked(self.prompt, unit, masks[unit]), 0, unit, masks[unit], parent)
            for unit in units
        ]
        for task, difference in self._asked(tasks):
            assert task.unit is not None
            self.found[task.unit] = (task, difference)
            yield self.step("features")

    def _shared(self, units: Sequence[Unit], repeats: int) -> Iterator[RemoteStep]:
        options = self.options
        drawn = plan(len(units), samples=options.samples, seed=options.seed)
        self.game = game = Game(self.prompt, units, self._masks(units), drawn)
        texts = game.texts
        self.total = repeats + len(texts)
        # The prompt without any part comes alone: where it cannot be asked, little was sent.
        for some in (texts[:1], texts[1:]):
            with explained(some):
                for task, difference in self._asked([_Task(text) for text in some]):
                    game.put(task.prompt, difference)
                    yield self.step("features")

    def _masks(self, units: Sequence[Unit]) -> dict[Unit, str]:
        """What replaces every unit."""
        if self.options.mask != NEIGHBOUR:
            return dict.fromkeys(units, self.options.mask)
        assert self.client is not None
        assert self.observer is not None
        talker = Talker(self.client, self.options)
        try:
            proposed = neighbours(talker, CHAT, self.prompt, units)
        except Refused:
            proposed = neighbours(talker, self.observer.path, self.prompt, units)
        if missing := [unit.text for unit in units if unit not in proposed]:
            self.warnings.append(
                f"The model proposed no other word for {len(missing)} of {len(units)} parts; they "
                f'were replaced by "{_WITHOUT_NEIGHBOUR}".'
            )
        return {unit: proposed.get(unit, _WITHOUT_NEIGHBOUR) for unit in units}

    def _asked(self, tasks: Sequence[_Task]) -> Iterator[tuple[_Task, Difference]]:
        """The tasks as they are answered, several at once."""
        assert self.observer is not None
        observer = self.observer

        def call(task: _Task) -> Difference:
            return observer.difference(task.prompt, repeat=task.repeat)

        assert self.client is not None
        for task, difference in _side_by_side(self.client, call, tasks, self.options.concurrency):
            self.done += 1
            tick("request", self.done, self.total)
            yield task, difference

    def _of(self, unit: Unit, parents: Sequence[Unit] = ()) -> RemoteFeature:
        task, difference = self.found[unit]
        parent = None if task.parent is None else list(parents).index(task.parent)
        floor = self.options.floor
        return feature(unit, difference, self.noise, floor=floor, mask=task.mask, parent=parent)

    def features(self) -> tuple[RemoteFeature, ...]:
        """What is found so far, by places; a sentence comes before its words."""
        if self.game is not None:
            return self.game.features(self.noise, floor=self.options.floor)
        units = sorted(self.found, key=lambda unit: (unit.start, -unit.end))
        return tuple(self._of(unit, units) for unit in units)

    def step(self, stage: str) -> RemoteStep:
        """How far the run is now."""
        return RemoteStep(
            stage=stage,
            done=self.done,
            total=self.total,
            estimate=self.estimate,
            tier=None if self.observer is None else self.observer.tier,
            requests=0 if self.client is None else self.client.requests,
            cached=0 if self.client is None else self.client.cached,
            features=self.features(),
        )

    def result(self) -> RemoteImportance:
        """Everything, once it is found."""
        assert self.client is not None
        assert self.observer is not None
        if self.endpoint.sends_key_openly:
            self.warnings.append(
                "The key was sent without encryption (http); use https, or another key."
            )
        header = records.header(
            "remote_importance",
            model={"id": self.endpoint.model, "base_url": self.endpoint.base_url},
            self_check={},
            seed=self.options.seed,
            timing={"total_s": time.perf_counter() - self.started},
            warnings=self.warnings,
        )
        header["input"] = {"prompt": self.prompt, "system": self.options.system}
        return RemoteImportance(
            header=header,
            method={"score": self.observer.score, **self.options.to_json()},
            tier=self.observer.tier,
            answer=self.observer.reference(),
            features=self.features(),
            noise=self.noise,
            requests=self.client.requests,
            cached=self.client.cached,
            usage=dict(self.client.usage),
            estimate=self.estimate,
            sharing=None if self.game is None else self.game.sharing(self.noise),
        )


def _side_by_side(
    client: Client,
    call: Callable[[_Task], Difference],
    tasks: Sequence[_Task],
    threads: int,
) -> Iterator[tuple[_Task, Difference]]:
    """Each task with its answer, in the order in which they come.

    Where one fails, or nobody wants the rest, nothing more is sent, and nobody waits for it.
    """
    pool = ThreadPoolExecutor(threads)
    try:
        futures: dict[Future[Difference], _Task] = {pool.submit(call, t): t for t in tasks}
        for future in as_completed(futures):
            yield futures[future], future.result()
    except BaseException:
        client.halt()
        raise
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
