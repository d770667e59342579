"""The measurements of the foundation: `python -m benchmarks.foundation`.

Writes RESULTS.md and results.json beside this file. Each section replaces its own part of the
results, so that one can be repeated alone: `python -m benchmarks.foundation speed --repeats 9`.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

# As the page does it; read when PyTorch is first imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from benchmarks.cases import CASES, forward
from benchmarks.measure import interleaved
from benchmarks.peak import peak_in_process
from benchmarks.report import machine, markdown
from benchmarks.startup import startup_ratio
from benchmarks.subjects import BIG, DEMO, random_ids, subject
from benchmarks.waiting import waiting_ratios

FOLDER = Path(__file__).parent
LENGTHS = (32, 128)
SUBJECTS = (DEMO, BIG)
SHORT_RUNS = 5
"""So many times more repeats for the demo, whose runs take milliseconds."""

NAIVE_BYTES = 4 * 2**30
"""The stack of all logits is left out where it would take more than this."""

NAIVE_COPIES = 5
"""How many tensors of the size of all logits that peer holds at its worst."""


def speed(repeats: int) -> list[dict[str, Any]]:
    """Every case against a plain forward."""
    found = []
    for name in SUBJECTS:
        loaded = subject(name)
        for tokens in LENGTHS:
            ids = random_ids(loaded, tokens)
            runs = {case: CASES[case](loaded, ids) for case in fitting_cases(name, tokens)}
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
        for case in fitting_cases(name, tokens)
    ]


def fitting_cases(name: str, tokens: int) -> list[str]:
    """The cases without those that would need too much memory."""
    facts = subject(name).facts
    logits = 4 * facts.n_layers * tokens * facts.vocab_size
    return [
        case
        for case in CASES
        if not case.startswith("peer: stack") or NAIVE_COPIES * logits <= NAIVE_BYTES
    ]


def waiting(repeats: int) -> list[dict[str, Any]]:
    """OMP_WAIT_POLICY=PASSIVE against the default."""
    whole = "lens: all layers and positions"
    cases = [(32, "forward"), (128, "forward"), (32, whole)]
    return [found for name in SUBJECTS for found in waiting_ratios(name, cases, repeats)]


def startup(repeats: int) -> dict[str, Any]:
    """The page's start against importing Gradio."""
    return startup_ratio(repeats)


SECTIONS: dict[str, Callable[[int], Any]] = {
    "speed": speed,
    "memory": memory,
    "waiting": waiting,
    "startup": startup,
}


def measure(sections: list[str], repeats: int, folder: Path = FOLDER) -> None:
    """Measure some sections, and write all results that are known then."""
    for section in sections:
        keep(section, SECTIONS[section], repeats, folder)


def keep(section: str, run: Callable[[int], Any], repeats: int, folder: Path = FOLDER) -> None:
    """Measure one section and write it among the results that are there."""
    path = folder / "results.json"
    results = json.loads(path.read_text("utf-8")) if path.is_file() else {}
    load = os.getloadavg()[0]
    results[section] = {
        "measured": datetime.now(timezone.utc).isoformat(timespec="minutes"),
        "machine": machine(),
        "load_before": load,
        "repeats": repeats,
        "results": run(repeats),
    }
    path.write_text(json.dumps(results, indent=1, allow_nan=False) + "\n", "utf-8")
    (folder / "RESULTS.md").write_text(markdown(results), "utf-8")


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
