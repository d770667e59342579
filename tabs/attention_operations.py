"""The operations of attention, next token and attribution: from a request to plain JSON values."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from tabs.attention_requests import AttentionRequest, AttributionRequest, NextTokenRequest
from tabs.bench import Bench, edited
from tabs.graph_operations import Answer, within
from tabs.requests import PromptRequest

if TYPE_CHECKING:
    from torch import Tensor

    from lens_core.models import LoadedModel


@contextmanager
def read(bench: Bench, request: PromptRequest, source: str) -> Iterator[tuple[LoadedModel, Tensor]]:
    """The model under the request's edits, and the ids of its prompt."""
    with bench.pool.lease(source) as loaded, loaded.lock, edited(loaded, request):
        ids = loaded.tokenize(request.prompt, template=request.template, special=request.special)
        yield loaded, ids


def attention(bench: Bench, request: AttentionRequest, source: str) -> Answer:
    """Where all heads look from one position and what that moves; one matrix where asked for."""
    from lens_core import attention_matrix, attention_views

    limit = bench.limits.attention
    with read(bench, request, source) as (loaded, ids):
        found = attention_views(
            loaded,
            ids,
            layers=request.layers,
            query=request.query,
            norms=request.norms,
            rollout=request.rollout,
            flow=request.flow,
            max_tokens=limit,
        )
        record = {**found.to_json(), "matrix": None}
        if request.matrix is not None:
            layer, head = request.matrix
            whole = attention_matrix(loaded, ids, layer or 0, head, max_tokens=limit)
            record["matrix"] = within(whole.to_json())
    return Answer(record)


def next_token(bench: Bench, request: NextTokenRequest, source: str) -> Answer:
    """What may come next, and how likely a string is where one is given."""
    from lens_core import next_token as read_next
    from lens_core import string_probability

    limit = bench.limits.attention
    with read(bench, request, source) as (loaded, prompt):
        ids = prompt.new_tensor([*prompt.tolist(), *request.append])
        names = ("k", "temperature", "nucleus", "position")
        options = {name: getattr(request, name) for name in names}
        record = read_next(loaded, ids, max_tokens=limit, **options).to_json()
        record["string"] = None
        if request.text is not None:
            found = string_probability(loaded, ids, request.text, max_tokens=limit)
            record["string"] = within(found.to_json())
    return Answer(record)


def attribution(bench: Bench, request: AttributionRequest, source: str) -> Answer:
    """What the prediction rests on, and how far to trust that where asked for."""
    from lens_core import attribute, faithfulness

    with read(bench, request, source) as (loaded, ids):
        found = attribute(loaded, ids, max_tokens=bench.limits.attention, **request.options)
        record = {**found.to_json(), "faithfulness": None}
        if request.faithfulness:
            trust = faithfulness(loaded, ids, found, seed=request.seed)
            record["faithfulness"] = within(trust.to_json())
    return Answer(record)


ATTENTION_OPS: dict[str, Callable[..., Any]] = {
    "attention": attention,
    "next_token": next_token,
    "attribution": attribution,
}
"""The operations by name."""
