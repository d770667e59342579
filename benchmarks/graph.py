"""The measurements of the contribution graph: `python -m benchmarks.graph`.

Adds its sections to RESULTS.md and results.json: the ratios to a plain forward, and the peak
memory of each case in a process of its own. `python -m benchmarks.graph memory` repeats one.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

# As the page does it; read when PyTorch is first imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from benchmarks.cases import forward
from benchmarks.foundation import FOLDER, SHORT_RUNS, keep
from benchmarks.graph_cases import GRAPH_CASES
from benchmarks.measure import interleaved
from benchmarks.peak import peak_in_process
from benchmarks.subjects import BIG, DEMO, random_ids, subject

LENGTHS = (32, 128)
SUBJECTS = (DEMO, BIG)


def speed(repeats: int) -> list[dict[str, Any]]:
    """Every case against a plain forward."""
    found = []
    for name, tokens in product(SUBJECTS, LENGTHS):
        loaded = subject(name)
        ids = random_ids(loaded, tokens)
        runs = {case: make(loaded, ids) for case, make in GRAPH_CASES.items()}
        rounds = repeats * SHORT_RUNS if name == DEMO else repeats
        ratios, seconds = interleaved(forward(loaded, ids), runs, repeats=rounds)
        reference = {key: spread.to_json() for key, spread in seconds.items()}
        found += [
            {"subject": name, "tokens": tokens, "case": case, "forward_s": reference}
            | ratio.to_json()
            for case, ratio in ratios.items()
        ]
    return found


def memory(repeats: int) -> list[dict[str, Any]]:
    """Peak memory of every case on the last model; one run each, in a process of its own."""
    del repeats
    name = SUBJECTS[-1]
    return [
        {
            "subject": name,
            "tokens": tokens,
            "case": case,
            "mib": peak_in_process(name, tokens, case),
        }
        for tokens in LENGTHS
        for case in GRAPH_CASES
    ]


SECTIONS: dict[str, Callable[[int], Any]] = {"speed": speed, "memory": memory}


def measure(sections: list[str], repeats: int, folder: Path = FOLDER) -> None:
    """Measure some sections, and write all results that are known then."""
    for section in sections:
        keep(f"graph {section}", SECTIONS[section], repeats, folder)


def main() -> None:
    """Measure what the command line names."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("sections", nargs="*", help=f"of {', '.join(SECTIONS)}; default: all")
    parser.add_argument("--repeats", type=int, default=5, help="5 to 9 are sensible")
    arguments = parser.parse_args()
    if unknown := set(arguments.sections) - set(SECTIONS):
        parser.error(f"no section {min(unknown)!r}; there are {', '.join(SECTIONS)}")
    measure(arguments.sections or list(SECTIONS), arguments.repeats)


if __name__ == "__main__":
    main()
