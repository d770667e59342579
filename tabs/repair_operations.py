"""The operations of repairs: from a request to plain JSON values, with their updates on the way."""

from __future__ import annotations

import base64
import io
import tempfile
import zipfile
from collections.abc import Callable, Generator
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lens_core.errors import InputError
from tabs.bench import Bench, edited, edits_of
from tabs.graph_operations import Answer
from tabs.repair_records import neuron_map, with_texts
from tabs.repair_requests import (
    RepairCompareRequest,
    RepairEvaluateRequest,
    RepairExportRequest,
    RepairPreviewRequest,
    RepairRequest,
    RepairStrengthsRequest,
    RepairViewRequest,
    SearchRequest,
)
from tabs.requests import Request

if TYPE_CHECKING:
    from torch import Tensor

    from lens_core.models import LoadedModel
    from lens_core.repairs import Repair, RepairBasis

Steps = Generator[dict[str, Any], None, Answer]
"""The updates of a search; returns the result."""


def repair(bench: Bench, request: RepairRequest, source: str) -> Steps:
    """The edit after which the model says the target, found on top of the request's edits."""
    check_options(request.options)
    with bench.pool.lease(source) as loaded, loaded.lock, edited(loaded, request):
        record, _ = yield from searched(bench, loaded, request)
        return Answer(record)


def repair_view(bench: Bench, request: RepairViewRequest, source: str) -> Steps:
    """The same with what it changed, for the page."""
    from lens_core.repairs.shown import word_course

    check_options(request.options)
    with bench.pool.lease(source) as loaded, loaded.lock:
        with edited(loaded, request):
            record, result = yield from searched(bench, loaded, request)
            record["made_on"] = [list(held) for held in loaded.active_edits]
            record["evaluation"] = evaluated(loaded, request, result)
            course = word_course(loaded, result)
            record["lens"] = None if course is None else course.to_json()
            record["map"] = neuron_map(loaded, result)
        # The stack is compared with the model as it is, so none of its edits may hold.
        record["stack"] = stacked(loaded, request, result)
        return Answer(record)


def searched(
    bench: Bench, loaded: LoadedModel, request: RepairRequest
) -> Generator[dict[str, Any], None, tuple[dict[str, Any], Repair]]:
    """The updates of a search; returns its record and its result."""
    from lens_core.repairs import Repair, repair_many_steps
    from lens_core.tokens import token_records

    ids = read_pairs(bench, loaded, request)
    steps = repair_many_steps(
        loaded,
        request.wanted,
        basis=held_basis(bench, loaded),
        watch=request.watch,
        **request.options,
    )
    result = None
    for step in steps:
        if isinstance(step, Repair):
            result = step
        else:
            yield step.to_json() | (rows(loaded, request, ids) if step.epoch == 0 else {})
    assert result is not None
    record = result.to_json()
    prompt = ids[0][0].tolist()
    tokens = token_records(loaded.tokenizer, prompt)
    record["input"] = {"pairs": len(ids), "tokens": tokens, "n_prompt": len(prompt)}
    return record, result


def check_options(*given: dict[str, Any]) -> None:
    """Refuse options outside their ranges before a model is loaded.

    Raises:
        InputError: names the option, its value and its range.
    """
    from lens_core.repairs import RepairOptions

    for options in given:
        RepairOptions.of(options)


def read_pairs(
    bench: Bench, loaded: LoadedModel, request: SearchRequest
) -> list[tuple[Tensor, Tensor]]:
    """The ids of what is wanted, none of it too long, nor what else is to be measured.

    Raises:
        PromptError: a prompt is too long, alone or with its target.
    """
    pairs = [(read(loaded, request, p), read_target(loaded, t)) for p, t in request.wanted]
    for prompt, target in pairs:
        check_length(bench, loaded, prompt, len(target))
    for text in request.texts[len(pairs) :]:
        check_length(bench, loaded, read(loaded, request, text))
    return pairs


def read(loaded: LoadedModel, request: Request, text: str) -> Tensor:
    """A prompt as ids."""
    return loaded.tokenize(text, template=request.template, special=request.special)


def read_target(loaded: LoadedModel, target: str) -> Tensor:
    """A target as ids, which are its own."""
    return loaded.tokenize(target, special="none")


def check_length(bench: Bench, loaded: LoadedModel, prompt: Tensor, new_tokens: int = 0) -> None:
    """Refuse a prompt that is too long.

    Raises:
        PromptError: with the length that fits, for the button that shortens it.
    """
    from lens_core.models import check_ids

    check_ids(loaded, prompt, max_tokens=bench.limits.repair, new_tokens=new_tokens)


def rows(
    loaded: LoadedModel, request: SearchRequest, ids: list[tuple[Tensor, Tensor]]
) -> dict[str, Any]:
    """The tokens that the margins of every update are of: those of the pairs, then of their views.

    What comes with the first update, so that its margins can be labelled.
    """
    from lens_core.tokens import vocab_entries

    targets = [target.tolist() for _, target in ids]
    entries = vocab_entries(loaded.tokenizer, [token for target in targets for token in target])
    views = [(index, True) for index in range(len(targets)) for _ in range(request.views)]
    tokens = [
        {"id": token, "pair": index, "view": view, **entries[token]}
        for index, view in [*((index, False) for index in range(len(targets))), *views]
        for token in targets[index]
    ]
    return {"tokens": tokens}


def held_basis(bench: Bench, loaded: LoadedModel) -> RepairBasis:
    """What repairs of the model under its present edits share: what is held, or made anew."""
    from lens_core.repairs import repair_basis

    key = (loaded.facts, loaded.active_edits)
    basis = bench.repair_bases.get(key)
    if basis is None:
        basis = repair_basis(loaded)
        bench.repair_bases.put(key, basis)
    return basis


def basis_bytes(basis: RepairBasis) -> int:
    """The size of its tensors."""
    gram = [] if basis.gram is None else [basis.gram]
    return sum(tensor.nbytes for tensor in (*gram, *basis.activity.values()))


def evaluated(
    loaded: LoadedModel, request: RepairViewRequest, result: Repair
) -> dict[str, Any] | None:
    """What a repair changed; None where it changed nothing."""
    from lens_core import applied, evaluate_repair

    if result.edit is None:
        return None
    reading = {"template": request.template, "special": request.special}
    found = evaluate_repair(loaded, result, **request.measures, **reading)
    return with_texts(loaded, found.to_json(), partial(applied, loaded, result.edit))


def strengths_of(request: Request) -> list[float]:
    """The strength of each of the request's edits."""
    return [held.strength for held in request.edit or ()]


def stacked(
    loaded: LoadedModel, request: RepairViewRequest, result: Repair
) -> dict[str, Any] | None:
    """What the request's edits and the new one do together; None where there is only one."""
    from lens_core.repairs import check_stack

    edits, strengths = edits_of(request), strengths_of(request)
    if result.edit is None or not edits:
        return None
    found = check_stack(
        loaded,
        [*edits, result.edit],
        strength=[*strengths, 1.0],
        new_tokens=0,
        template=request.template,
        special=request.special,
    )
    record = found.to_json()
    effects = {"kl": record["locality"]["kl"], "ratio": record["fluency"]["ratio"]}
    return {**{name: record[name] for name in ("retention", "collapse", "retained")}, **effects}


def repair_preview(bench: Bench, request: RepairPreviewRequest, source: str) -> dict[str, Any]:
    """How prompt and target will be read; needs no lock, so it answers while a repair runs."""
    from lens_core.repairs import preview_target

    reading = {"template": request.template, "special": request.special}
    with bench.pool.lease(source) as loaded:
        found = preview_target(loaded, request.prompt, request.target, **reading).to_json()
    return {**found, "n": len(found["prompt_tokens"]) + len(found["target_tokens"])}


def repair_evaluate(bench: Bench, request: RepairEvaluateRequest, source: str) -> Answer:
    """Which of the request's edits still hold, and what all of them change together."""
    from lens_core import applied
    from lens_core.repairs import check_stack

    edits, strengths = edits_of(request), strengths_of(request)
    reading = {"template": request.template, "special": request.special}
    wanted = None if request.wanted is None else [tuple(pair) for pair in request.wanted]
    with bench.pool.lease(source) as loaded, loaded.lock:
        check_texts(bench, loaded, request)
        found = check_stack(
            loaded,
            edits,
            strength=strengths,
            wanted=wanted,
            paraphrases=[tuple(pair) for pair in request.paraphrases],
            probes=request.probes,
            neighbours=request.neighbours,
            builtin=request.builtin,
            new_tokens=request.new_tokens,
            **reading,
        )
        holding = partial(applied, loaded, *edits, strength=strengths)
        record = with_texts(loaded, found.to_json(), holding)
        if request.strengths is not None:
            record["strength_curve"] = curve(loaded, request, request.strengths)
    return Answer(record)


def repair_strengths(bench: Bench, request: RepairStrengthsRequest, source: str) -> Answer:
    """What the last of the request's edits does at other strengths, and nothing else."""
    with bench.pool.lease(source) as loaded, loaded.lock:
        return Answer({"strength_curve": curve(loaded, request, request.strengths)})


def curve(loaded: LoadedModel, request: Request, strengths: list[float]) -> list[dict[str, Any]]:
    """The last of the request's edits at other strengths, on top of the ones before it."""
    from lens_core import applied
    from lens_core.records import plain
    from lens_core.repairs import strength_curve

    *below, last = edits_of(request)
    reading = {"template": request.template, "special": request.special}
    with applied(loaded, *below, strength=strengths_of(request)[:-1]):
        points = strength_curve(loaded, last, strengths=strengths, **reading)
    return [plain(asdict(point)) for point in points]


def check_texts(bench: Bench, loaded: LoadedModel, request: RepairEvaluateRequest) -> None:
    """Refuse what is too long to be measured on.

    Raises:
        PromptError: a text is too long, alone or with its target.
    """
    for prompt, target in [*(request.wanted or ()), *request.paraphrases]:
        check_length(bench, loaded, read(loaded, request, prompt), len(read_target(loaded, target)))
    for text in (*request.probes, *request.neighbours):
        check_length(bench, loaded, read(loaded, request, text))


def repair_compare(bench: Bench, request: RepairCompareRequest, source: str) -> Steps:
    """Several methods on the same pairs, each from the same state, with what each changed."""
    from lens_core.repairs import Comparison, compare_repairs_steps

    asked = [{"method": one} if isinstance(one, str) else one for one in request.methods]
    check_options(*({**request.options, **one} for one in asked))
    with bench.pool.lease(source) as loaded, loaded.lock, edited(loaded, request):
        read_pairs(bench, loaded, request)
        steps = compare_repairs_steps(
            loaded,
            request.wanted,
            asked,
            basis=held_basis(bench, loaded),
            evaluation=request.measures,
            **request.options,
        )
        result = None
        for step in steps:
            if isinstance(step, Comparison):
                result = step
            else:
                place = {"index": step.index, "total": step.total, "method": step.method}
                yield {**place, "step": step.step.to_json()}
        assert result is not None
        return Answer(result.to_json())


def repair_export(bench: Bench, request: RepairExportRequest, source: str) -> dict[str, Any]:
    """The one edit as a LoRA adapter in a zip file, and how exact that is.

    Raises:
        InputError: several edits.
    """
    from lens_core.repairs import save_lora

    edits, strengths = edits_of(request), strengths_of(request)
    if len(edits) != 1:
        raise InputError(f"edit has {len(edits)} edits; a LoRA adapter takes 1.")
    with bench.pool.lease(source) as loaded, tempfile.TemporaryDirectory() as folder:
        saved = save_lora(loaded, edits[0], folder, rank=request.rank, strength=strengths[0])
        packed = zipped(Path(folder))
    return {
        "name": f"lora-{edits[0].id[:8]}.zip",
        "base64": base64.b64encode(packed).decode("ascii"),
        "rank": saved.rank,
        "rel_err": saved.rel_err,
        "bytes": len(packed),
    }


def zipped(folder: Path) -> bytes:
    """The files of a folder as a zip file."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(folder.iterdir()):
            archive.write(path, path.name)
    return packed.getvalue()


REPAIR_OPS: dict[str, Callable[..., Any]] = {
    "repair": repair,
    "repair_view": repair_view,
    "repair_preview": repair_preview,
    "repair_evaluate": repair_evaluate,
    "repair_strengths": repair_strengths,
    "repair_compare": repair_compare,
    "repair_export": repair_export,
}
"""The operations by name."""
