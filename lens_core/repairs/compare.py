"""Several methods on the same pairs, each from the same clean state, in one table."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from lens_core.errors import InputError
from lens_core.models import LoadedModel
from lens_core.records import plain
from lens_core.repairs.basis import RepairBasis, repair_basis
from lens_core.repairs.evaluate import Evaluation, evaluate_repair
from lens_core.repairs.options import METHODS, RepairOptions
from lens_core.repairs.result import Repair, RepairStep
from lens_core.repairs.run import repair_many_steps


@dataclass(frozen=True, eq=False)
class ComparisonStep:
    """One update of one of the methods."""

    index: int
    """Which of the runs, from 0."""
    total: int
    method: str
    step: RepairStep


@dataclass(frozen=True, eq=False)
class ComparedRun:
    """One method with what it did."""

    repair: Repair
    evaluation: Evaluation

    def row(self) -> dict[str, Any]:
        """The numbers that methods are compared by."""
        cost, found = self.repair.cost, self.evaluation
        wanted = [pair for pair in self.repair.pairs if pair.view_of is None]
        return {
            "method": self.repair.options.method,
            "lr": self.repair.options.lr,
            "status": self.repair.status,
            "light": found.light,
            "greedy_exact": found.efficacy,
            "accuracy": sum(pair.after.accuracy for pair in wanted) / len(wanted),
            "margin": min(pair.after.margin for pair in wanted),
            "generalisation": found.generalisation,
            "kl": found.locality.kl,
            "kl_p95": found.locality.kl_p95,
            "kl_max": found.locality.kl_max,
            "same": found.locality.same,
            "near_kl": None if found.near is None else found.near.kl,
            "perplexity_ratio": found.fluency.ratio,
            "columns": cost.columns,
            "layers": cost.layers,
            "bytes": cost.bytes,
            "forwards": cost.forwards,
            "backwards": cost.backwards,
            "seconds": cost.seconds,
        }


@dataclass(frozen=True, eq=False)
class Comparison:
    """All runs, in the order that was asked for."""

    header: Mapping[str, Any]
    runs: tuple[ComparedRun, ...]

    def table(self) -> list[dict[str, Any]]:
        """One row a run."""
        return [run.row() for run in self.runs]

    def to_json(self) -> dict[str, Any]:
        """Plain Python values by the schema lens_core/repair_comparison/1."""
        return {
            **plain(self.header),
            "table": plain(self.table()),
            "runs": [
                {"repair": run.repair.to_json(), "evaluation": run.evaluation.to_json()}
                for run in self.runs
            ],
        }


def compare_repairs(
    loaded: LoadedModel,
    pairs: Sequence[tuple[str | Tensor, str | Tensor]],
    methods: Sequence[str | Mapping[str, Any]] = METHODS,
    **arguments: Any,
) -> Comparison:
    """Repair the same pairs by several methods and measure each; see `compare_repairs_steps`."""
    steps = compare_repairs_steps(loaded, pairs, methods, **arguments)
    (result,) = deque(steps, maxlen=1)
    assert isinstance(result, Comparison)
    return result


def compare_repairs_steps(
    loaded: LoadedModel,
    pairs: Sequence[tuple[str | Tensor, str | Tensor]],
    methods: Sequence[str | Mapping[str, Any]] = METHODS,
    *,
    basis: RepairBasis | None = None,
    evaluation: Mapping[str, Any] | None = None,
    **options: Any,
) -> Iterator[ComparisonStep | Comparison]:
    """The updates of every method in turn; the last item is the comparison.

    Args:
        loaded: the model, which is as it was between all steps.
        pairs: what is wanted.
        methods: names, or options of a run such as {"method": "me-sgd", "lr": 0.01}.
        basis: what `repair_basis` gave for this model.
        evaluation: arguments of `evaluate_repair`: paraphrases, probes, neighbours, ...
        options: those of `repair`, for all runs.

    Raises:
        InputError: no method, or an option outside its range.
    """
    if isinstance(methods, str) or not len(methods):
        raise InputError(f"methods is {methods!r}; give a list of {', '.join(METHODS)}.")
    asked = [{"method": one} if isinstance(one, str) else dict(one) for one in methods]
    runs_options = [{**options, **one} for one in asked]
    for one in runs_options:
        RepairOptions.of(one)
    basis = repair_basis(loaded) if basis is None else basis
    measures = {
        "template": options.get("template"),
        "special": options.get("special", "default"),
        **(evaluation or {}),
    }
    runs = []
    for index, one in enumerate(runs_options):
        for step in repair_many_steps(loaded, pairs, basis=basis, **one):
            if isinstance(step, RepairStep):
                method = one.get("method", METHODS[0])
                yield ComparisonStep(index, len(runs_options), method, step)
            else:
                found = evaluate_repair(loaded, step, pairs, **measures)
                runs.append(ComparedRun(step, found))
    header = {**loaded.header("repair_comparison"), "input": {"pairs": len(pairs)}}
    yield Comparison(header, tuple(runs))
