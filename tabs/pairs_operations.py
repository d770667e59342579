"""The operations of minimal pairs, causal tracing and layer operations.

Those of endpoints go from a request to plain JSON values; those of the page give results, whose
arrays its clicks read without another run.
"""

from __future__ import annotations

import io
import json
import tempfile
import zipfile
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lens_core.errors import InputError, PromptError
from tabs.bench import Bench, edited
from tabs.graph_operations import Answer
from tabs.pairs_requests import (
    MAX_SHOWN_PAIRS,
    CausalTraceRequest,
    LayerOperationsRequest,
    PairDifferenceRequest,
    PairExportRequest,
    PairRecord,
    PairsRequest,
    PairViewRequest,
)
from tabs.requests import Request

if TYPE_CHECKING:
    from lens_core import AttributionPatching, CausalTrace, LayerOperations, Pair, PairDifference
    from lens_core.difference.effect_result import SetEffect
    from lens_core.models import LoadedModel
    from lens_core.pairs import Alignment, PairFile
    from lens_core.patching.pair_grid import PairGrid

ORIGINAL_BYTES = 180
"""What the original's JSON takes for one dim of one layer of one pair."""
MAX_ORIGINAL_BYTES = 200 * 2**20
MAX_WINDOW_BYTES = 2**30
"""What is kept of runs of pairs on disk, so that one that was stopped goes on."""

Steps = Generator[dict[str, Any], None, Any]
"""How far it is; returns the result."""


@dataclass(frozen=True, eq=False)
class PairSet:
    """Pairs, what in their source is none, and how the sides align for the model."""

    header: dict[str, Any]
    file: PairFile
    alignments: tuple[dict[str, Any], ...]
    """Of every pair: {n_tok, prefix, edits, shift, flags, reason}."""

    def to_json(self) -> dict[str, Any]:
        """Plain Python values by the schema lens_core/pairs/1."""
        return {
            **self.header,
            **self.file.to_json(),
            "alignments": list(self.alignments),
            "report": alignment_report(self.alignments),
        }


@dataclass(frozen=True, eq=False)
class PairView:
    """One pair token by token, and which states restore the answer of side 1."""

    grid: PairGrid
    trace: CausalTrace | None
    reason: str | None
    """Why there is no trace."""
    answers_own: bool
    """The answers are what either side predicts, since the pair names none."""

    @property
    def headers(self) -> list[Any]:
        """Wherever the model is named."""
        return [self.grid.header, *([] if self.trace is None else [self.trace.header])]


@dataclass(frozen=True, eq=False)
class Differing:
    """A comparison of pairs, and what holding a set of dims does where that was asked for."""

    found: PairDifference
    before: PairDifference | None = None
    """Without the edit."""
    effect: SetEffect | None = None

    @property
    def headers(self) -> list[Any]:
        """Wherever the model is named."""
        return [one.header for one in (self.found, self.before, self.effect) if one is not None]


@contextmanager
def read(bench: Bench, request: Request, source: str) -> Iterator[LoadedModel]:
    """The model under the request's edits."""
    with bench.pool.lease(source) as loaded, loaded.lock, edited(loaded, request):
        yield loaded


def core_pair(record: PairRecord) -> Pair:
    """The pair of a request."""
    from lens_core import Pair

    return Pair.from_json(record.model_dump())


# ---- making and reading


def pairs(bench: Bench, request: PairsRequest, source: str) -> PairSet:
    """Pairs of templates, of a text or of the model itself, aligned for the model."""
    from lens_core.pairs import PairFile, make_pairs, propose_pairs, read_pairs

    names = ("n", "lang", "seed", "uses_per_edit")
    options = {name: getattr(request, name) for name in names}
    file = None
    if request.source == "template":
        file = PairFile(tuple(make_pairs(request.categories, **options)))
    elif request.source == "text":
        limits = {"max_pairs": MAX_SHOWN_PAIRS}
        file = read_pairs(request.content, format=request.format, **limits)
    elif request.source == "given":
        file = PairFile(tuple(core_pair(record) for record in request.pairs))
    with read(bench, request, source) as loaded:
        if file is None:
            file = propose_pairs(loaded, request.sentences, **options)
        return aligned_set(bench, loaded, request, file, same_length=request.same_length)


def aligned_set(
    bench: Bench, loaded: LoadedModel, request: Request, file: PairFile, *, same_length: bool
) -> PairSet:
    """How the sides of all pairs align; pairs of unequal length are left out where asked for.

    Raises:
        InputError: no pair of equal length.
    """
    from lens_core.progress import tick

    found = []
    for done, pair in enumerate(file.pairs, 1):
        found.append(alignment_of(loaded, request, pair, bench.limits.difference))
        tick("prompt", done, len(file.pairs))
    if same_length:
        kept = [at for at, one in enumerate(found) if one["shift"] == 0]
        if not kept:
            raise InputError(
                f"None of {len(found)} pairs has sides of equally many tokens in this model. Turn "
                "same_length off: sides of any length are aligned."
            )
        file = replace(file, pairs=tuple(file.pairs[at] for at in kept))
        found = [found[at] for at in kept]
    return PairSet(loaded.header("pairs"), file, tuple(found))


def alignment_of(loaded: LoadedModel, request: Request, pair: Pair, limit: int) -> dict[str, Any]:
    """How one pair aligns, or why it cannot be compared."""
    from lens_core.pairs import aligned

    try:
        found = aligned(loaded, pair, template=request.template, special=request.special)
    except PromptError as error:
        return alignment_record(None, str(error))
    longest = max(len(found.ids1), len(found.ids2))
    reason = f"It has {longest} tokens; the limit is {limit}." if longest > limit else None
    return alignment_record(found, reason)


def alignment_record(found: Alignment | None, reason: str | None) -> dict[str, Any]:
    """An alignment as plain values, with the reason why it cannot be compared, if any."""
    if found is None:
        nothing: dict[str, Any] = {"n_tok": None, "prefix": None, "edits": [], "shift": None}
        return {**nothing, "flags": [], "reason": reason}
    return {
        "n_tok": [len(found.ids1), len(found.ids2)],
        "prefix": found.prefix,
        "edits": [[list(one), list(two)] for one, two in found.edits],
        "shift": found.shift,
        "flags": list(found.flags),
        "reason": reason,
    }


def alignment_report(alignments: Sequence[dict[str, Any]]) -> dict[str, int]:
    """How many pairs align, and how."""
    known = [one for one in alignments if one["reason"] is None]
    return {
        "pairs": len(alignments),
        "aligned": len(known),
        "equal_length": sum(one["shift"] == 0 for one in known),
        "shifted": sum(one["shift"] != 0 for one in known),
        "one_token": sum(_one_token(one) for one in known),
        "widened": sum("widened" in one["flags"] for one in known),
        "several_edits": sum("several_edits" in one["flags"] for one in known),
        "at_end": sum("at_end" in one["flags"] for one in known),
        "identical": sum("identical" in one["flags"] for one in known),
        "refused": len(alignments) - len(known),
    }


def _one_token(one: dict[str, Any]) -> bool:
    spans = [span for edit in one["edits"] for span in edit]
    return len(one["edits"]) == 1 and all(stop - start == 1 for start, stop in spans)


# ---- comparing


def pair_difference(bench: Bench, request: PairDifferenceRequest, source: str) -> Steps:
    """How the activations of pairs differ, as plain values."""
    found = yield from pair_difference_view(bench, request, source)
    record = difference_record(found.found, request.sites)
    before = found.before
    record["before_edit"] = None if before is None else difference_record(before, request.sites)
    record["set_effect"] = None if found.effect is None else found.effect.to_json()
    return Answer(record)


def difference_record(found: PairDifference, sites: Sequence[str] | None) -> dict[str, Any]:
    """A comparison as plain values, with the dims of some sites only.

    Raises:
        InputError: an unknown site.
    """
    if unknown := set(sites or ()) - set(found.sites):
        raise InputError(f"There is no site {min(unknown)!r}; there are {', '.join(found.sites)}.")
    if sites is not None:
        found = replace(
            found, dims={name: found.dims[name] for name in sites if name in found.dims}
        )
    return found.to_json()


def pair_difference_view(bench: Bench, request: PairDifferenceRequest, source: str) -> Steps:
    """How the activations of pairs differ, with the edit and without it where asked for."""
    before = effect = None
    with bench.pool.lease(source) as loaded, loaded.lock:
        listed = [core_pair(record) for record in request.pairs]
        if request.before_edit:
            before = yield from _compared(bench, loaded, request, listed, "before")
        with edited(loaded, request):
            found = yield from _compared(bench, loaded, request, listed, "after")
            if request.set_effect is not None:
                effect = _set_effect(bench, loaded, request, found)
    return Differing(found, before, effect)


def _compared(
    bench: Bench,
    loaded: LoadedModel,
    request: PairDifferenceRequest,
    listed: Sequence[Pair],
    model: str,
) -> Generator[dict[str, Any], None, PairDifference]:
    from lens_core import PairDifference, pair_difference_steps
    from lens_core.difference.resuming import trim_windows

    given = {"max_tokens": bench.limits.difference, "resume": bench.pair_windows}
    steps = pair_difference_steps(loaded, listed, **given, **request.options)
    for step in steps:
        # After every window, so that neither a long run nor one that is stopped fills the disk.
        trim_windows(bench.pair_windows, MAX_WINDOW_BYTES)
        if isinstance(step, PairDifference):
            return step
        yield {
            "model": model,
            "stage": step.stage,
            "done": step.done,
            "total": step.total,
            "left_out": step.left_out,
        }
    raise AssertionError("the last step is the result")


def _set_effect(
    bench: Bench, loaded: LoadedModel, request: PairDifferenceRequest, found: PairDifference
) -> SetEffect:
    """What holding the dims that were found at a site at their mean does.

    Raises:
        InputError: no block's output, or nothing was found there.
    """
    from lens_core import set_effect

    site = request.set_effect
    places = dict(zip(found.sites, zip(found.components, found.layers, strict=True), strict=True))
    component, layer = places.get(site or "", ("", -1))
    if component != "resid_post" or layer < 0:
        blocks = [name for name, place in places.items() if place[0] == "resid_post"]
        raise InputError(
            f"set_effect is {site!r}; it holds dims of a block's output: {', '.join(blocks[1:])}."
        )
    dims = [one.dim for one in found.found if one.site == site]
    if not dims:
        raise InputError(f"No dims were found at {site}, so there is no set to hold.")
    compared = [one.pair for one in found.pairs]
    options = {"template": request.template, "special": request.special, "seed": request.seed}
    return set_effect(
        loaded, compared, layer=layer, dims=dims, max_tokens=bench.limits.difference, **options
    )


def pair_export(bench: Bench, request: PairExportRequest, source: str) -> bytes:
    """A zip with the original tool's result files and figures, and ours."""
    from lens_core import pair_difference as compared

    with read(bench, request, source) as loaded:
        check_export(request, loaded)
        with tempfile.TemporaryDirectory() as folder:
            kept, out = Path(folder) / "kept", Path(folder) / "pairs"
            listed = [core_pair(record) for record in request.pairs]
            limit = bench.limits.difference
            found = compared(loaded, listed, max_tokens=limit, keep=kept, **request.options)
            _write_export(renamed(found, kept, request.model), kept, out, request)
            return zipped(out)


def renamed(found: PairDifference, kept: Path, name: str) -> PairDifference:
    """The same under the name that a visitor knows, which is no folder; kept states likewise."""
    from lens_core.difference.store import INDEX_FILE
    from lens_core.records import dumps

    index = json.loads((kept / INDEX_FILE).read_text(encoding="utf-8"))
    index["model"]["id"] = name
    (kept / INDEX_FILE).write_text(dumps(index, indent=1), encoding="utf-8")
    header = {**found.header, "model": {**found.header["model"], "id": name}}
    return replace(found, header=header)


def check_export(request: PairExportRequest, loaded: LoadedModel) -> None:
    """Refuse an export that no browser could open.

    Raises:
        InputError: the original's JSON would be larger than the limit.
    """
    layers = loaded.n_layers if request.layers is None else len(request.layers)
    size = len(request.pairs) * layers * loaded.facts.d_model * ORIGINAL_BYTES
    if size > MAX_ORIGINAL_BYTES:
        raise InputError(
            f"The original's JSON would have {size / 2**20:.0f} MiB for {len(request.pairs)} pairs;"
            f" the limit is {MAX_ORIGINAL_BYTES / 2**20:.0f}. Choose fewer pairs or layers, or use "
            "python -m lens_core pairs analyze."
        )


def _write_export(found: PairDifference, kept: Path, out: Path, request: PairExportRequest) -> None:
    from lens_core.difference.original_files import write_original_results
    from lens_core.figures import write_pair_figures
    from lens_core.pairs import write_original, write_pairs
    from lens_core.records import dumps

    results = out / "results"
    results.mkdir(parents=True)
    pairs = [one.pair for one in found.pairs]
    write_pairs(pairs, out / "sentence_pairs.jsonl")
    write_original(pairs, out / "sentence_pairs.json")
    (results / "pairdiff.json").write_text(dumps(found.to_json(), indent=1), encoding="utf-8")
    (results / "groups.csv").write_text(found.to_csv(), encoding="utf-8")
    write_original_results(
        found, kept, results, threshold=request.threshold, normalization=request.normalization
    )
    if request.figures:
        options = {"threshold": request.threshold, "top_n": request.top_n}
        write_pair_figures(found, kept, out, max_pairs=request.figures, **options)


def zipped(folder: Path) -> bytes:
    """A folder as a zip file."""
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                archive.write(path, path.relative_to(folder.parent))
    return held.getvalue()


# ---- one pair


def pair_view(bench: Bench, request: PairViewRequest, source: str) -> PairView:
    """One pair token by token, and which states restore the answer of side 1."""
    from lens_core import LensError, causal_trace
    from lens_core.patching.pair_grid import chosen_answers, pair_grid

    limit, pair = bench.limits.difference, core_pair(request.pair)
    options: dict[str, Any] = {"template": request.template, "special": request.special}
    with read(bench, request, source) as loaded:
        grid = pair_grid(loaded, pair, k=request.k, max_tokens=limit, **options)
        named = pair.answer1 is not None and pair.answer2 is not None
        trace, reason = None, None
        if request.trace:
            try:
                trace = causal_trace(
                    loaded, pair, components=["resid_post"], max_tokens=limit,
                    answers=None if named else chosen_answers(grid), **options,
                )  # fmt: skip
            except LensError as error:
                reason = str(error)
    return PairView(grid, trace, reason, not named)


def causal_trace(bench: Bench, request: CausalTraceRequest, source: str) -> Answer:
    """Which activations carry the difference of a pair, as plain values."""
    return Answer(causal_trace_view(bench, request, source).to_json())


def causal_trace_view(
    bench: Bench, request: CausalTraceRequest, source: str
) -> CausalTrace | AttributionPatching:
    """Which activations carry the difference of a pair: by patches, or to first order."""
    from lens_core import attribution_patching
    from lens_core import causal_trace as traced
    from lens_core.patching.pair_grid import chosen_answers, pair_grid

    limit, pair = bench.limits.difference, core_pair(request.pair)
    with read(bench, request, source) as loaded:
        answers = None
        if request.own_answers and None in (pair.answer1, pair.answer2):
            options: dict[str, Any] = {"template": request.template, "special": request.special}
            answers = chosen_answers(pair_grid(loaded, pair, max_tokens=limit, **options))
        given = {"answers": answers, "max_tokens": limit}
        if request.approximate:
            return attribution_patching(loaded, pair, **given, **request.shared_options)
        return traced(loaded, pair, **given, **request.options)


# ---- layers


def layer_operations(bench: Bench, request: LayerOperationsRequest, source: str) -> Steps:
    """What a model loses without a block, as plain values."""
    found, *before = yield from layer_operations_view(bench, request, source)
    record = found.to_json(tokens=request.tokens)
    record["before_edit"] = before[0].to_json(tokens=request.tokens) if before else None
    return Answer(record)


def layer_operations_view(bench: Bench, request: LayerOperationsRequest, source: str) -> Steps:
    """The same as results: with the edit, then without it where that was asked for."""
    before = []
    with bench.pool.lease(source) as loaded, loaded.lock:
        if request.before_edit:
            before.append((yield from _operated(bench, loaded, request, "before")))
        with edited(loaded, request):
            found = yield from _operated(bench, loaded, request, "after")
    return [found, *before]


def _operated(
    bench: Bench, loaded: LoadedModel, request: LayerOperationsRequest, model: str
) -> Generator[dict[str, Any], None, LayerOperations]:
    from lens_core import LayerOperations, layer_operations_steps

    texts: list[Any] = request.data
    if request.template is not None or request.special != "default":
        how: dict[str, Any] = {"template": request.template, "special": request.special}
        texts = [loaded.tokenize(text, **how) if text else text for text in texts]
    steps = layer_operations_steps(
        loaded,
        texts,
        operations=list(request.operations),
        layers=request.layers,
        max_tokens=bench.limits.difference,
    )
    for step in steps:
        if isinstance(step, LayerOperations):
            return step
        yield {"model": model, "done": step.done, "total": step.total, "operation": step.operation}
    raise AssertionError("the last step is the result")


PAIRS_OPS: dict[str, Callable[..., Any]] = {
    "causal_trace": causal_trace,
    "causal_trace_view": causal_trace_view,
    "layer_operations": layer_operations,
    "layer_operations_view": layer_operations_view,
    "pair_difference": pair_difference,
    "pair_difference_view": pair_difference_view,
    "pair_export": pair_export,
    "pair_view": pair_view,
    "pairs": pairs,
}
"""The operations by name."""
