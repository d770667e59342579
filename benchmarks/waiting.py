"""How OpenMP threads wait: PASSIVE (they sleep) against the default (they spin).

Two processes, one a setting, hold the same model and run in turns, a case each time.
As a program, this is such a process: it reads "TOKENS CASE" lines and writes seconds.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from typing import Any

from benchmarks.measure import Seconds, Spread, between, ratio_of, timed

SETTING = "OMP_WAIT_POLICY"


def waiting_ratios(
    subject: str, cases: list[tuple[int, str]], repeats: int
) -> list[dict[str, Any]]:
    """PASSIVE in units of the default for each case: alone, and beside a busy process."""
    found = []
    with ExitStack() as stack:
        default = stack.enter_context(_worker(subject, None))
        passive = stack.enter_context(_worker(subject, "PASSIVE"))
        for beside in (False, True):
            with _busy_process() if beside else nullcontext():
                found += [
                    {"subject": subject, "tokens": tokens, "case": case, "busy": beside}
                    | _in_turns(default, passive, f"{tokens} {case}", repeats)
                    for tokens, case in cases
                ]
    return found


def _in_turns(
    default: subprocess.Popen[str], passive: subprocess.Popen[str], line: str, repeats: int
) -> dict[str, Any]:
    for worker in (default, passive):
        _ask(worker, line)
    before = _ask(default, line)
    samples, defaults, passives = [], [before], []
    for _ in range(repeats):
        one, after = _ask(passive, line), _ask(default, line)
        samples.append(between(before, one, after))
        defaults.append(after)
        passives.append(one)
        before = after
    return {
        **ratio_of(samples).to_json(),
        "default_s": _spreads(defaults),
        "passive_s": _spreads(passives),
    }


def _spreads(samples: list[Seconds]) -> dict[str, Any]:
    return {
        "wall": Spread.of(one.wall for one in samples).to_json(),
        "cpu": Spread.of(one.cpu for one in samples).to_json(),
    }


@contextmanager
def _worker(subject: str, policy: str | None) -> Iterator[subprocess.Popen[str]]:
    """A process that measures on request, with one setting."""
    environment = {key: value for key, value in os.environ.items() if key != SETTING}
    if policy is not None:
        environment[SETTING] = policy
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.waiting", subject],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.terminate()
        process.wait()


@contextmanager
def _busy_process() -> Iterator[None]:
    """Another process that always wants one core, as a web server or a neighbour may."""
    process = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        yield
    finally:
        process.terminate()
        process.wait()


def _ask(worker: subprocess.Popen[str], line: str) -> Seconds:
    assert worker.stdin is not None
    assert worker.stdout is not None
    worker.stdin.write(line + "\n")
    worker.stdin.flush()
    return Seconds(*json.loads(worker.stdout.readline()))


def main() -> None:
    """Answer requests until the input ends."""
    from benchmarks.cases import CASES, forward
    from benchmarks.subjects import random_ids, subject

    loaded = subject(sys.argv[1])
    prepared: dict[str, Any] = {}
    for line in sys.stdin:
        if line not in prepared:
            tokens, case = line.strip().split(" ", 1)
            ids = random_ids(loaded, int(tokens))
            prepared[line] = {"forward": forward, **CASES}[case](loaded, ids)
        seconds = timed(prepared[line])
        sys.stdout.write(json.dumps([seconds.wall, seconds.cpu]) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
