"""How well repairs repair and what else they change: `python -m benchmarks.repair`.

The first subject is the embedded model: its facts that are out of date, in three languages, and
counterfactual capitals. The others are tiny models of four families that were trained on facts
within seconds (F1). Every method is run on the same changes, one change at a time from the clean
model. Locality is measured where the model answers all facts it knows about other subjects.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

# As the page does it; read when PyTorch is first imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch

from benchmarks.repair_facts import Case, Subject, demo_subject, fact_model
from lens_core import applied, check_stack, repair
from lens_core.edits import WeightEdit
from lens_core.repairs.options import RepairOptions
from lens_core.repairs.states import said_pairs
from lens_core.repairs.wanted import Rows, read_pair, rows_of

FAMILIES = ("qwen2", "gpt2", "gpt_neox", "llama")
METHODS: tuple[dict[str, Any], ...] = (
    {"method": "me-sgd", "lr": 1e-2},
    {"method": "me-sgd"},
    {"method": "me-iter"},
    {"method": "me-batch"},
    {"method": "me-batch", "layers": 0.5},
    {"method": "me-batch", "layers": 0.5, "locate": "occlusion"},
    {"method": "mint"},
    {"method": "me-sgd", "compat": "reference"},
    {"method": "me-iter", "compat": "reference"},
    {"method": "me-batch", "compat": "reference"},
)
STACKED: tuple[dict[str, Any], ...] = (
    {"method": "me-sgd", "lr": 1e-2},
    {"method": "me-batch"},
    {"method": "me-iter"},
    {"method": "mint"},
)
STACK = 6
"""Edits on top of one another."""
COLUMNS = (
    "exact", "paraphrase", "kl", "kl_max", "same", "columns", "epochs", "backwards", "seconds"
)  # fmt: skip


def name_of(options: Mapping[str, Any]) -> str:
    """A method with the options that make it another row."""
    more = [
        str(value) if isinstance(value, str) else f"{key} {value:g}"
        for key, value in options.items()
        if key != "method"
    ]
    return " ".join([options["method"], *more])


def measured(subject: Subject, options: Mapping[str, Any]) -> dict[str, Any]:
    """The means of one method over all cases of a subject."""
    found = [_one(subject, case, options) for case in subject.cases]
    row = {column: fmean(one[column] for one in found) for column in COLUMNS}
    return {"subject": subject.name, "method": name_of(options), "n": len(found), **row}


def _one(subject: Subject, case: Case, options: Mapping[str, Any]) -> dict[str, float]:
    loaded = subject.loaded
    result = repair(loaded, *case.pair, basis=subject.basis, **options)
    others = _rows(subject, [pair for name, pair in subject.facts if name != case.subject])
    reworded = _rows(subject, case.paraphrases)
    before = _log_probs(subject, others)
    edits = () if result.edit is None else (result.edit,)
    with applied(loaded, *edits):
        after = _log_probs(subject, others)
        said = said_pairs(loaded, reworded)
    kl = (before.exp() * (before - after)).sum(-1).clamp_min(0)
    return {
        "exact": float(result.status in ("repaired", "already_correct")),
        "paraphrase": fmean(state.accuracy for state in said),
        "kl": float(kl.mean()),
        "kl_max": float(kl.max()),
        "same": float((before.argmax(-1) == after.argmax(-1)).float().mean()),
        "columns": result.cost.columns,
        "epochs": result.cost.epochs,
        "backwards": result.cost.backwards,
        "seconds": result.cost.seconds,
    }


def stacked(subject: Subject, options: Mapping[str, Any]) -> dict[str, Any]:
    """Six edits, each made on top of those before: what holds, and what all of them change."""
    loaded = subject.loaded
    edits: list[WeightEdit] = []
    cases = subject.cases[:STACK]
    for case in cases:
        with applied(loaded, *edits):
            found = repair(loaded, *case.pair, basis=subject.basis, **options)
        edits += [] if found.edit is None else [found.edit]
    named = {case.subject for case in cases}
    probes = [
        read_pair(loaded, *pair, RepairOptions()).ids
        for name, pair in subject.facts
        if name not in named
    ]
    check = check_stack(loaded, edits, probes=probes, builtin=False, new_tokens=0)
    effects = check.evaluation.locality
    return {
        "subject": subject.name,
        "method": name_of(options),
        "edits": len(edits),
        "retention": check.retention,
        "kl": effects.kl,
        "same": effects.same,
        "guard": check.collapse is not None,
    }


def _rows(subject: Subject, pairs: Sequence[Any]) -> Rows:
    options = RepairOptions()
    return rows_of([read_pair(subject.loaded, pair[0], pair[1], options) for pair in pairs])


def _log_probs(subject: Subject, rows: Rows) -> torch.Tensor:
    """Log-probabilities where each token of the facts is predicted, [token, d_vocab]."""
    network: Any = subject.loaded.model
    texts = [pair.ids for pair in rows.pairs]
    found = []
    with torch.inference_mode():
        for start in range(0, len(texts), 64):
            batch = torch.nn.utils.rnn.pad_sequence(texts[start : start + 64], batch_first=True)
            logits = network(input_ids=batch, use_cache=False).logits
            mine = (rows.sequence >= start) & (rows.sequence < start + 64)
            places = (rows.sequence[mine] - start, rows.position[mine])
            found.append(logits[places].float().log_softmax(-1))
    return torch.cat(found)


def subjects(names: Sequence[str], count: int) -> Iterator[Subject]:
    """The subjects of some names."""
    for name in names:
        family, _, layers = name.partition("-L")
        yield demo_subject(count) if name == "demo" else fact_model(family, int(layers or 4))


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """The rows in Markdown."""
    head = list(rows[0])
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for row in rows:
        cells = [f"{cell:.4g}" if isinstance(cell, float) else str(cell) for cell in row.values()]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Measure what the command line names, and write it as JSON and as a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "subjects",
        nargs="*",
        help=f"of demo, {', '.join(FAMILIES)}, also with 6 layers, as in qwen2-L6; default: all",
    )
    parser.add_argument("--cases", type=int, default=30, help="changes of the embedded model")
    parser.add_argument("--methods", help="only those that begin with this")
    parser.add_argument("--stack", action="store_true", help="six edits on top of one another")
    parser.add_argument("--json", type=Path, help="where the rows go")
    arguments = parser.parse_args()
    known = ("demo", *FAMILIES)
    asked = {name.removesuffix("-L6") for name in arguments.subjects}
    if unknown := asked - set(known):
        parser.error(f"no subject {min(unknown)!r}; there are {', '.join(known)}")
    rows = []
    measure = stacked if arguments.stack else measured
    for subject in subjects(arguments.subjects or known, arguments.cases):
        for options in STACKED if arguments.stack else METHODS:
            if arguments.methods and not name_of(options).startswith(arguments.methods):
                continue
            rows.append(measure(subject, options))
            print(table(rows[-1:]).splitlines()[-1], flush=True)  # noqa: T201
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(rows, indent=1) + "\n", "utf-8")
    print(table(rows))  # noqa: T201


if __name__ == "__main__":
    main()
