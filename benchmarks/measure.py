"""Ratios of wall and CPU time, and peak memory.

Absolute times move by a factor of two within minutes on a shared machine, so nothing is compared
over time: every case is timed between two runs of its reference, and only the ratio is kept.
"""

from __future__ import annotations

import ctypes
import gc
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

Run = Callable[[], Any]


@dataclass(frozen=True)
class Seconds:
    """What one run took."""

    wall: float
    cpu: float
    """Of all threads of the process together."""


@dataclass(frozen=True)
class Spread:
    """Repeated measurements of one quantity."""

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, values: Iterable[float]) -> Spread:
        """The spread of at least one value."""
        values = list(values)
        return cls(median(values), min(values), max(values))

    def to_json(self) -> dict[str, float]:
        """Plain numbers."""
        return {"median": self.median, "least": self.least, "most": self.most}


@dataclass(frozen=True)
class Ratio:
    """How many times the reference a case takes."""

    wall: Spread
    cpu: Spread
    repeats: int

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {"wall": self.wall.to_json(), "cpu": self.cpu.to_json(), "repeats": self.repeats}


def timed(run: Run) -> Seconds:
    """The time of one run."""
    wall, cpu = time.perf_counter(), time.process_time()
    run()
    return Seconds(time.perf_counter() - wall, time.process_time() - cpu)


def between(before: Seconds, case: Seconds, after: Seconds) -> Seconds:
    """A case in units of its reference, the mean of the runs right before and right after."""
    return Seconds(
        2 * case.wall / (before.wall + after.wall), 2 * case.cpu / (before.cpu + after.cpu)
    )


def interleaved(
    reference: Run, cases: Mapping[str, Run], *, repeats: int
) -> tuple[dict[str, Ratio], dict[str, Spread]]:
    """Each case as a ratio to the reference, and the seconds of the reference (wall, cpu).

    Every round runs reference, case, reference, case, ..., reference.
    """
    for run in (reference, *cases.values()):
        run()
    found: dict[str, list[Seconds]] = {name: [] for name in cases}
    references = []
    for _ in range(repeats):
        before = timed(reference)
        references.append(before)
        for name, run in cases.items():
            case, after = timed(run), timed(reference)
            found[name].append(between(before, case, after))
            references.append(after)
            before = after
    ratios = {name: ratio_of(samples) for name, samples in found.items()}
    return ratios, {
        "wall": Spread.of(one.wall for one in references),
        "cpu": Spread.of(one.cpu for one in references),
    }


def ratio_of(samples: list[Seconds]) -> Ratio:
    """The spread of some ratios."""
    return Ratio(
        Spread.of(one.wall for one in samples), Spread.of(one.cpu for one in samples), len(samples)
    )


def peak_mib(run: Run) -> float | None:
    """Memory of this process at its highest during one run, above the level before, in MiB.

    The kernel's high-water mark, so that nothing between two samples is missed; None where there
    is no such mark (not Linux). Run it once in a process: freed memory may stay with the process.
    """
    gc.collect()
    with suppress(OSError, AttributeError):  # glibc alone has it
        ctypes.CDLL(None).malloc_trim(0)
    try:
        Path("/proc/self/clear_refs").write_text("5")  # the mark starts at the present level
        before = _status_kib("VmRSS")
        run()
        return (_status_kib("VmHWM") - before) / 1024
    except OSError:
        return None


def _status_kib(key: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{key}:"):
            return int(line.split()[1])
    raise OSError(f"/proc/self/status has no {key}")
