"""What runs inside a GPU call: plain generators of progress and one result, by name."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tabs.requests import LogitLensRequest, Request

if TYPE_CHECKING:
    from lens_core.lens import LogitLens
    from lens_core.models import LoadedModel
    from lens_core.pool import ModelPool
    from lens_core.settings import TokenLimits


@dataclass(frozen=True)
class Progress:
    """One line of what is being done."""

    text: str


def read_logit_lens(
    pool: ModelPool, request: LogitLensRequest, source: str, limits: TokenLimits
) -> Generator[Progress | LogitLens, None, None]:
    """The logit lens of a prompt, under the edit that the request carries."""
    from lens_core import logit_lens

    yield Progress(f"Loading {request.model}")
    with pool.lease(source) as loaded:
        ids = loaded.tokenize(request.prompt, template=request.template, special=request.special)
        options = request.model_dump(exclude={*Request.model_fields, "last"})
        if request.last is not None:
            options["positions"] = range(-min(request.last, len(ids)), 0)
        yield Progress(f"Reading {loaded.n_layers} layers of {len(ids)} tokens")
        # Nothing is yielded inside: the lock that an edit holds belongs to this thread, and the
        # generator may go on in another.
        with edited(loaded, request):
            result = logit_lens(loaded, ids, max_tokens=limits.logit_lens, **options)
    yield result


def edited(loaded: LoadedModel, request: Request) -> ExitStack:
    """The request's edit, to be held for a block; nothing when it has none."""
    stack = ExitStack()
    if request.edit is None:
        return stack
    from lens_core import WeightEdit, applied

    stack.enter_context(applied(loaded, WeightEdit.from_json(request.edit)))
    return stack


OPS: dict[str, Callable[..., Generator[Any, None, None]]] = {"logit_lens": read_logit_lens}
