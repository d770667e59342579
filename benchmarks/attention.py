"""The measurements of attention: `python -m benchmarks.attention`.

Adds its sections to RESULTS.md and results.json: the ratios to a plain forward, the peak memory of
each case in a process of its own, and how much of it rows keep against all matrices.
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

from benchmarks.attention_cases import ATTENTION_CASES, eager
from benchmarks.cases import forward
from benchmarks.foundation import FOLDER, SHORT_RUNS, keep
from benchmarks.measure import interleaved
from benchmarks.peak import peak_in_process
from benchmarks.subjects import BIG, DEMO, random_ids, subject
from lens_core import attention_rows

LENGTHS = (128, 512)
FORWARD = "forward"


def speed(repeats: int) -> list[dict[str, Any]]:
    """Every case against a plain forward."""
    found = []
    for name, tokens in _prompts():
        loaded = subject(name)
        ids = random_ids(loaded, tokens)
        runs = {case: make(loaded, ids) for case, make in ATTENTION_CASES.items()}
        rounds = repeats * SHORT_RUNS if name == DEMO else repeats
        ratios, seconds = interleaved(forward(loaded, ids), runs, repeats=rounds)
        reference = {key: spread.to_json() for key, spread in seconds.items()}
        found += [
            {"subject": name, "tokens": tokens, "case": case, "forward_s": reference}
            | ratio.to_json()
            for case, ratio in ratios.items()
        ]
    return found


def _prompts() -> list[tuple[str, int]]:
    """Models and lengths, as far as a model reads."""
    found = product((DEMO, BIG), LENGTHS)
    return [(name, n) for name, n in found if n <= (subject(name).facts.max_positions or n)]


def memory(repeats: int) -> list[dict[str, Any]]:
    """Peak memory of every case and of the forward; one run each, in a process of its own."""
    del repeats
    return [
        {
            "subject": BIG,
            "tokens": tokens,
            "case": case,
            "mib": peak_in_process(BIG, tokens, case),
        }
        for tokens in LENGTHS
        for case in (FORWARD, *ATTENTION_CASES)
    ]


def kept(repeats: int) -> list[dict[str, Any]]:
    """Bytes of the rows against those of the weights that eager attention returns."""
    del repeats
    loaded = subject(BIG)
    found = []
    for tokens in LENGTHS:
        ids = random_ids(loaded, tokens)
        rows = attention_rows(loaded, ids).rows.nbytes
        weights = sum(one.nbytes for one in eager(loaded, ids)().attentions)
        found.append({"subject": BIG, "tokens": tokens, "rows": rows, "matrices": weights})
    return found


SECTIONS: dict[str, Callable[[int], Any]] = {"speed": speed, "memory": memory, "kept": kept}


def measure(sections: list[str], repeats: int, folder: Path = FOLDER) -> None:
    """Measure some sections, and write all results that are known then."""
    for section in sections:
        keep(f"attention {section}", SECTIONS[section], repeats, folder)


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
