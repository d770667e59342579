"""What runs inside a GPU call: functions from a request to a result, by name.

A generator function yields details on the way, and returns its result.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tabs.attention_operations import ATTENTION_OPS
from tabs.bench import Bench, edited
from tabs.graph_operations import GRAPH_OPS
from tabs.pairs_operations import PAIRS_OPS
from tabs.repair_operations import REPAIR_OPS
from tabs.requests import LogitLensRequest, PromptRequest, ShortenRequest

if TYPE_CHECKING:
    from torch import Tensor

    from lens_core.lens import LensRun, LogitLens
    from lens_core.models import LoadedModel

PAGE_ONLY = {"ids", "last", "end", "stride", "available"}
"""Fields of a request that the page translates into the core's own options."""


def read_logit_lens(bench: Bench, request: LogitLensRequest, source: str) -> LogitLens:
    """The logit lens of a prompt, under the edit that the request carries.

    A forward pass that is still held is read again, not run again.
    """
    from lens_core import logit_lens

    with bench.pool.lease(source) as loaded:
        ids = loaded.tokenize(request.prompt, template=request.template, special=request.special)
        if request.ids is not None:
            ids = ids.new_tensor(request.ids)
        limit = bench.limits.logit_lens
        # The key below names the edits that hold, so nobody else's may hold by then.
        with loaded.lock, edited(loaded, request):
            run = _lens_run(bench, loaded, ids, request)
            options = request.model_dump(exclude={*PromptRequest.model_fields, *PAGE_ONLY})
            options["positions"] = _positions(request, len(run.ids))
            if request.stride is not None:
                options["layers"] = _every(request.stride, loaded.n_layers)
            if request.available:
                options["components"] = _available(loaded, request)
            return logit_lens(loaded, ids, max_tokens=limit, run=run, **options)


def _lens_run(bench: Bench, loaded: LoadedModel, ids: Tensor, request: LogitLensRequest) -> LensRun:
    """The forward pass of the request: the one that is held, or a new one."""
    from lens_core.lens import lens_run

    sampling = {
        name: getattr(request, name)
        for name in ("generate", "temperature", "top_p", "top_k", "seed")
    }
    drawn = tuple(sampling.values()) if request.generate else ()
    key = (loaded.facts, tuple(ids.tolist()), drawn, loaded.active_edits)
    run = bench.lens_runs.get(key)
    if run is None:
        run = lens_run(loaded, ids, max_tokens=bench.limits.logit_lens, **sampling)
        bench.lens_runs.put(key, run)
    return run


def _positions(request: LogitLensRequest, n_tokens: int) -> list[int] | range | None:
    """The positions asked for; `last` counts back from `end`."""
    if request.last is None:
        return request.positions
    end = n_tokens if request.end is None else min(request.end, n_tokens)
    return range(max(0, end - request.last), end)


def _every(stride: int, n_layers: int) -> range:
    """Every so many layers, the last one always among them."""
    return range((n_layers - 1) % stride, n_layers, stride)


def _available(loaded: LoadedModel, request: LogitLensRequest) -> list[str]:
    """The components asked for that are exact in this model."""
    exact = loaded.self_check.reason_off("streams") is None
    return [name for name in request.components if exact or name in ("embed", "resid_post")]


def shorten(bench: Bench, request: ShortenRequest, source: str) -> str:
    """The longest end of the prompt that has no more than the tokens asked for."""
    from lens_core.prompts import shortened

    with bench.pool.lease(source) as loaded:
        return shortened(
            loaded,
            request.prompt,
            limit=request.limit,
            template=request.template,
            special=request.special,
        )


OPS: dict[str, Callable[..., Any]] = {
    "logit_lens": read_logit_lens,
    "shorten": shorten,
    **GRAPH_OPS,
    **ATTENTION_OPS,
    **REPAIR_OPS,
    **PAIRS_OPS,
}
