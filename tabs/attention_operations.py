"""The operations of attention, next token and attribution.

Those of endpoints go from a request to plain JSON values; those of the page give results, whose
arrays its clicks read without another run.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tabs.attention_requests import (
    MAX_FLOW,
    MAX_SHOWN,
    AttentionCompareRequest,
    AttentionMatrixRequest,
    AttentionRequest,
    AttentionViewRequest,
    AttributionRequest,
    AttributionViewRequest,
    NextTokenRequest,
)
from tabs.bench import Bench, edited
from tabs.graph_operations import Answer, within
from tabs.requests import PromptRequest, Request

if TYPE_CHECKING:
    from torch import Tensor

    from lens_core import Attribution, Faithfulness, NextToken
    from lens_core.attention import AttentionMatrix, AttentionViews
    from lens_core.attribution import AttributionStep
    from lens_core.models import LoadedModel


@dataclass(frozen=True, eq=False)
class Looked:
    """Where the heads look from one position, and what comes next there."""

    views: AttentionViews | None
    """None for a model without attention."""
    next: NextToken
    tokenizer: dict[str, Any] | None
    reason: str | None = None
    """Why there are no views."""

    @property
    def header(self) -> dict[str, Any]:
        """Where the model is named."""
        return self.next.header if self.views is None else self.views.rows.header

    @property
    def headers(self) -> list[dict[str, Any]]:
        """Wherever the model is named."""
        return [self.next.header, *([] if self.views is None else [self.views.rows.header])]


@dataclass(frozen=True, eq=False)
class Attributed:
    """What a prediction rests on, and how its ranking fares where that was measured."""

    found: Attribution
    trust: Faithfulness | None

    @property
    def headers(self) -> list[Any]:
        """Wherever the model is named."""
        return [self.found.header, *([] if self.trust is None else [self.trust.header])]


@contextmanager
def read(
    bench: Bench, request: PromptRequest, source: str, append: Sequence[int] = ()
) -> Iterator[tuple[LoadedModel, Tensor]]:
    """The model under the request's edits, and the ids of its prompt and of what follows it."""
    with bench.pool.lease(source) as loaded, loaded.lock, edited(loaded, request):
        ids = loaded.tokenize(request.prompt, template=request.template, special=request.special)
        yield loaded, ids.new_tensor([*ids.tolist(), *append])


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
    with read(bench, request, source, request.append) as (loaded, ids):
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


def attention_view(bench: Bench, request: AttentionViewRequest, source: str) -> Looked:
    """Everything that the page shows of attention and of the next token, from one pass."""
    with read(bench, request, source, request.append) as (loaded, ids):
        options: dict[str, Any] = {"query": request.query, "flow": request.flow}
        return looked_at(bench, loaded, ids, n_prompt=len(ids) - len(request.append), **options)


def attention_compare(
    bench: Bench, request: AttentionCompareRequest, source: str
) -> Generator[dict[str, Any], None, list[Looked]]:
    """The same of several prompts, from the last token of each."""
    found: list[Looked] = []
    for prompt in request.prompts:
        one = PromptRequest(prompt=prompt, **request.model_dump(include={*Request.model_fields}))
        with read(bench, one, source) as (loaded, ids):
            flow = request.flow and len(ids) <= MAX_FLOW
            found.append(looked_at(bench, loaded, ids, n_prompt=len(ids), flow=flow))
        yield {"done": len(found), "total": len(request.prompts)}
    return found


def looked_at(
    bench: Bench, loaded: LoadedModel, ids: Tensor, *, n_prompt: int, query: int = -1, flow: bool
) -> Looked:
    """Attention and the next token of one pass; the next token alone without attention."""
    from lens_core import NotExactError, attention_views, next_token_from_logits
    from lens_core import next_token as read_next
    from lens_core.tokens import tokenizer_facts

    limit, rows = bench.limits.attention, loaded.facts.vocab_size
    k, reason = min(MAX_SHOWN, rows), None
    try:
        views = attention_views(loaded, ids, query=query, flow=flow, max_tokens=limit)
    except NotExactError as error:
        views, reason = None, str(error)
        following = read_next(loaded, ids, k=k, position=query, max_tokens=limit)
    else:
        assert views.rows.logits is not None
        logits = views.rows.logits[0]
        following = next_token_from_logits(loaded, ids, logits, k=k, position=views.query)
    found = Looked(views, following, tokenizer_facts(loaded.tokenizer, rows), reason)
    found.header["input"]["n_prompt"] = n_prompt
    return found


def attention_matrix(bench: Bench, request: AttentionMatrixRequest, source: str) -> AttentionMatrix:
    """Where one head looks from every position."""
    from lens_core import attention_matrix as whole

    with read(bench, request, source, request.append) as (loaded, ids):
        limit = bench.limits.attention
        return whole(loaded, ids, request.layer, request.head, max_tokens=limit)


def attribution_view(
    bench: Bench, request: AttributionViewRequest, source: str
) -> Generator[AttributionStep, None, Attributed]:
    """What the prediction rests on, with the scores that are known on the way."""
    from lens_core import Attribution, attribute_steps, faithfulness

    limit = bench.limits.attention
    with read(bench, request, source, request.append) as (loaded, ids):
        for step in attribute_steps(loaded, ids, max_tokens=limit, **request.options):
            if not isinstance(step, Attribution):
                yield step
                continue
            trust = None
            if request.faithfulness:
                others = _attention_rankings(loaded, ids, step)
                trust = faithfulness(loaded, ids, step, others=others, seed=request.seed)
            return Attributed(step, trust)
    raise AssertionError("the last step is the result")


def _attention_rankings(
    loaded: LoadedModel, ids: Tensor, found: Attribution
) -> dict[str, list[float]]:
    """Attention as if it were an attribution, to be held against chance; none without attention."""
    from lens_core import NotExactError, attention_views

    try:
        views = attention_views(loaded, ids, query=found.query, norms=False)
    except NotExactError:
        return {}
    rows = {"attention": views.head_mean[-1]}
    if views.rollout is not None:
        rows["rollout"] = views.rollout.shares["mean"]
    return {
        name: [float(row[feature.start : feature.stop].sum()) for feature in found.features]
        for name, row in rows.items()
    }


ATTENTION_OPS: dict[str, Callable[..., Any]] = {
    "attention": attention,
    "attention_compare": attention_compare,
    "attention_matrix": attention_matrix,
    "attention_view": attention_view,
    "attribution": attribution,
    "attribution_view": attribution_view,
    "next_token": next_token,
}
"""The operations by name."""
