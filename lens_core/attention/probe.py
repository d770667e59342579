"""One forward pass during which the attention of every layer can be looked at.

The model's own attention function makes the pass unchanged, so its logits are the same bit for
bit. Beside it the family's own eager function is asked for single rows of the pattern: softcaps,
learned sinks, windows and scales are the model's, and no [query, key] matrix has to exist.
Families outside transformers' registry (Falcon, Bloom, GPT-J, ...) are asked for their whole
pattern instead, in a pass of its own, since that can round or (Falcon with ALiBi) weigh otherwise
than the attention they run by default: the logits are always those of the default.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from lens_core.attention_capture import own_eager
from lens_core.attention_own import ask_for_attention, attention_set_to, uses_registry
from lens_core.network import input_device, last_logits_only, run
from lens_core.progress import portion, tick

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from lens_core.anatomy import Anatomy
    from lens_core.models import LoadedModel

BASES = ("sdpa", "eager")
"""The attention functions that can run unchanged beside the probe."""
NAME = "lens_core_probe_"


@dataclass(frozen=True, eq=False)
class Look:
    """The attention of one layer, as long as its pass is under way; everything in float32."""

    pattern: Callable[[Int[Tensor, " row"]], Float[Tensor, "head row key"]]
    """Rows of the pattern at some positions; they sum to 1, or to less with learned sinks."""
    visible: Callable[[Int[Tensor, " row"]], Bool[Tensor, "row key"]]
    """Which positions these rows may look at."""
    values: Float[Tensor, "n_values key d_value"]
    n_kv_heads: int


Visit: TypeAlias = Callable[[int, Look], None]
"""Called with each layer that has attention, in the order of the pass."""


@dataclass(eq=False)
class _Probe:
    """The pass that is under way."""

    base: str
    owner: dict[nn.Module, int]
    visit: Visit
    device: torch.device
    seen: set[nn.Module] = field(default_factory=set)


_PROBE: ContextVar[_Probe | None] = ContextVar("probe", default=None)


def capture_mode(loaded: LoadedModel) -> str:
    """How rows are had: "sdpa" or "eager" beside the model's own pass, or "asked" of the model."""
    if not uses_registry(loaded.model):
        return "asked"
    own = loaded.model.config._attn_implementation
    # Other kernels (flash, flex) read other masks, from which no row can be worked out.
    return own if own in BASES else "eager"


@torch.no_grad()
def probe(
    loaded: LoadedModel, ids: Int[Tensor, " position"], visit: Visit, *, queries: Sequence[int]
) -> Float[Tensor, "query d_vocab"]:
    """Run while `visit` looks at every layer; the model's own logits at some positions.

    One pass, or two where the model is asked for its pattern. The caller holds the model's lock.
    """
    model, device = loaded.model, input_device(loaded.model)
    mode = capture_mode(loaded)
    with _ticking(loaded.anatomy):
        if mode == "asked":
            with portion(0, 2):
                _asked(loaded, ids, visit)
            with portion(1, 2):
                return _logits_at(model, ids, list(queries))
        owner = {
            module: layer
            for layer, parts in enumerate(loaded.anatomy.layers)
            for module in parts.block.modules()
        }
        _register()
        token = _PROBE.set(_Probe(mode, owner, visit, device))
        try:
            with attention_set_to(model, NAME + mode):
                return _logits_at(model, ids, list(queries))
        finally:
            _PROBE.reset(token)


def _logits_at(
    model: PreTrainedModel, ids: Tensor, queries: list[int]
) -> Float[Tensor, "query d_vocab"]:
    """The model's logits at some positions; the others are not worked out where it can be."""
    options: dict[str, Any] = dict(last_logits_only(model))
    if options and queries != [len(ids) - 1]:
        options = {"logits_to_keep": torch.tensor(queries, device=input_device(model))}
    found = run(model, ids[None], **options).logits[0]
    return (found if options else found[queries]).to(torch.float32, copy=True)


def _register() -> None:
    from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    for base in BASES:
        if NAME + base not in ALL_ATTENTION_FUNCTIONS:
            # The mask first: without it attention silently stops being causal.
            masks = ALL_MASK_ATTENTION_FUNCTIONS
            masks.register(NAME + base, masks[base])
            ALL_ATTENTION_FUNCTIONS.register(NAME + base, _attention)


def _attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None = None,
    **options: Any,
) -> Any:
    """The model's own attention, with a look at the rows that are wanted."""
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    found = _PROBE.get()
    assert found is not None, "the probe's attention outside of a probe"
    own = own_eager(module) if found.base == "eager" else ALL_ATTENTION_FUNCTIONS["sdpa"]
    answer = own(module, query, key, value, attention_mask, **options)
    # DiffLlama calls twice with the same queries and keys.
    if module in found.owner and module not in found.seen:
        found.seen.add(module)
        pattern = partial(_rows, module, query, key, value, attention_mask, options)
        if found.base == "eager":
            pattern = partial(_chosen, answer[1])
        visible = partial(_visible, module, query, key, attention_mask, options)
        look = Look(
            lambda at: pattern(at).to(found.device, torch.float32),
            lambda at: visible(at).to(found.device),
            value[0].to(found.device, torch.float32),
            key.shape[1],
        )
        found.visit(found.owner[module], look)
    return answer


def _chosen(pattern: Tensor, at: Tensor) -> Tensor:
    return pattern[0, :, at.to(pattern.device)]


def _rows(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None,
    options: dict[str, Any],
    at: Int[Tensor, " row"],
) -> Tensor:
    """Rows of the pattern, from the family's own eager function."""
    at = at.to(query.device)
    if mask is None or mask.dtype == torch.bool:
        seen = _visible(module, query, key, mask, options, at, by_head=True)
        least = torch.finfo(query.dtype).min
        rows = torch.zeros(seen.shape, dtype=query.dtype, device=query.device)
        rows.masked_fill_(~seen, least)
    else:
        rows = mask[:, :, at]
    # One column of the values: what they are multiplied to is not wanted.
    return own_eager(module)(module, query[:, :, at], key, value[..., :1], rows, **options)[1][0]


def _visible(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    mask: Tensor | None,
    options: dict[str, Any],
    at: Int[Tensor, " row"],
    *,
    by_head: bool = False,
) -> Tensor:
    """Which keys some queries may look at; by head as [1, head or 1, row, key]."""
    at = at.to(query.device)
    if mask is None:
        # As fused attention reads a missing mask.
        causal = options.get("is_causal")
        causal = getattr(module, "is_causal", True) if causal is None else causal
        keys = torch.arange(key.shape[2], device=query.device)
        seen = keys <= at[:, None] if causal else torch.ones_like(keys <= at[:, None])
        seen = seen[None, None]
    else:
        seen = mask[:, :, at]
        if seen.dtype != torch.bool:
            seen = seen > torch.finfo(seen.dtype).min / 2
    return seen if by_head else seen[0].any(0)


def _asked(loaded: LoadedModel, ids: Int[Tensor, " position"], visit: Visit) -> None:
    """Look at the whole pattern of families that keep their own attention code."""
    _, found = ask_for_attention(loaded.model, ids, loaded.anatomy.values)
    for layer in sorted(found):
        pattern, values = found[layer]
        look = Look(
            lambda at, pattern=pattern: pattern[:, at.to(pattern.device)],
            # A key that no head weighs above 0 lies outside of the mask.
            lambda at, pattern=pattern: (pattern[:, at.to(pattern.device)] > 0).any(0),
            values,
            loaded.facts.n_kv_heads,
        )
        visit(layer, look)


@contextmanager
def _ticking(anatomy: Anatomy) -> Iterator[None]:
    """Report every block that is through."""
    total = len(anatomy.layers)

    def after(done: int, *_: Any) -> None:
        tick("layer", done, total)

    with ExitStack() as hooks:
        for layer, parts in enumerate(anatomy.layers):
            hook = partial(after, layer + 1)
            hooks.callback(parts.block.register_forward_hook(hook).remove)
        yield
