"""States of many texts at a few positions each, in few forward passes.

Texts of about one length run side by side, padded on the right and masked, which is exact for
every family: with padding on the left, models with absolute positions are wrong. Hooks copy only
the positions that are asked for, the moment they are seen, in float32; the last block's output is
taken from the block itself, since the library's last hidden state has passed the final norm. The
head is not run.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from lens_core.difference.options import EMBED, Site
from lens_core.models import LoadedModel
from lens_core.network import input_device
from lens_core.progress import tick
from lens_core.trace import first_state

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from lens_core.anatomy.parts import AddMap, LayerParts

Ids = tuple[int, ...]
Group = tuple[int, ...]
States = dict[tuple[Ids, Group], np.ndarray]
"""By text and positions: the mean of the states there, [site, d_model]."""

Term = tuple[nn.Module, bool, float]
"""A module, whether its output is taken or its input, and the factor it enters with."""


def states_at(
    loaded: LoadedModel,
    wanted: Mapping[Ids, Sequence[Group]],
    sites: Sequence[Site],
    *,
    batch_tokens: int,
) -> States:
    """The states of texts at their positions, averaged over each group of positions.

    Every text runs once, however often it is asked for.
    """
    found: States = {}
    batches = list(in_batches(list(wanted), batch_tokens))
    for done, texts in enumerate(batches, 1):
        groups = [(row, group) for row, ids in enumerate(texts) for group in wanted[ids]]
        places = [(row, at) for row, group in groups for at in group]
        states = _gathered(loaded, texts, places, sites)
        start = 0
        for row, group in groups:
            some = states[start : start + len(group)]
            found[texts[row], group] = some[0] if len(group) == 1 else some.mean(0)
            start += len(group)
        tick("prompt", done, len(batches))
    return found


def in_batches(texts: Sequence[Ids], batch_tokens: int) -> Iterator[list[Ids]]:
    """Texts of about one length together; a batch holds so many tokens, padding included."""
    batch: list[Ids] = []
    # By the ids, too, so that a batch does not depend on the order of the pairs.
    for ids in sorted(texts, key=lambda ids: (len(ids), ids)):
        if batch and (len(batch) + 1) * len(ids) > batch_tokens:
            yield batch
            batch = []
        batch.append(ids)
    if batch:
        yield batch


@torch.no_grad()
def _gathered(
    loaded: LoadedModel,
    texts: Sequence[Ids],
    places: Sequence[tuple[int, int]],
    sites: Sequence[Site],
) -> Float[np.ndarray, "place site d_model"]:
    """The states at (text, position), of one pass."""
    rows, columns = torch.tensor(places, dtype=torch.long).T
    ids, mask = padded(texts)
    seen: dict[tuple[nn.Module, bool], Tensor] = {}
    with loaded.lock:
        terms = [_terms(loaded.anatomy.layers, site) for site in sites]
        with ExitStack() as hooks:
            for module, is_output, _ in {term[:2]: term for one in terms for term in one}.values():
                keep = _keeper(seen, (module, is_output), ids.shape, (rows, columns))
                _listen(hooks, module, is_output, keep)
            run_body(loaded.model, ids, mask)
    out = torch.zeros(len(places), len(sites), loaded.facts.d_model)
    for at, one in enumerate(terms):
        for module, is_output, factor in one:
            out[:, at] += seen[module, is_output].to(out.device) * factor
    return out.numpy()


def padded(texts: Sequence[Ids]) -> tuple[Int[Tensor, "text position"], Tensor | None]:
    """Texts as rows, filled up on the right, and the mask; None where all are of one length."""
    longest = max(map(len, texts))
    ids = torch.zeros(len(texts), longest, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for row, text in enumerate(texts):
        ids[row, : len(text)] = torch.tensor(text, dtype=torch.long)
        mask[row, : len(text)] = 1
    return ids, None if bool(mask.all()) else mask


def run_body(model: PreTrainedModel, ids: Int[Tensor, "text position"], mask: Tensor | None) -> Any:
    """Run the blocks, without the head where the family keeps it apart."""
    whole: Any = model
    wrapped = getattr(whole, "get_base_model", None)
    body = (whole if wrapped is None else wrapped()).base_model
    device = input_device(model)
    options: dict[str, Any] = {"use_cache": False}
    if mask is not None and "attention_mask" in inspect.signature(body.forward).parameters:
        options["attention_mask"] = mask.to(device)
    with torch.inference_mode():
        return body(input_ids=ids.to(device), **options)


def _keeper(
    seen: dict[tuple[nn.Module, bool], Tensor],
    key: tuple[nn.Module, bool],
    shape: Sequence[int],
    places: tuple[Tensor, Tensor],
) -> Callable[[Tensor], None]:
    def keep(state: Tensor) -> None:
        rows, columns = (one.to(state.device) for one in places)
        # Indexing copies: some families change a state in place later.
        seen[key] = state.reshape(*shape, -1)[rows, columns].float()

    return keep


def _listen(
    hooks: ExitStack, module: nn.Module, is_output: bool, keep: Callable[[Tensor], None]
) -> None:
    def after(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        keep(first_state(output))

    def before(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        keep(first_state((*args, *kwargs.values())))

    if is_output:
        hooks.callback(module.register_forward_hook(after).remove)
    else:
        hooks.callback(module.register_forward_pre_hook(before, with_kwargs=True).remove)


def _terms(layers: Sequence[LayerParts], site: Site) -> list[Term]:
    """What a site is the sum of; nothing where a block lacks the part."""
    component, layer = site
    if layer == EMBED:
        return [(layers[0].block, False, 1.0)]
    parts = layers[layer]
    if component == "resid_post":
        return [(parts.block, True, 1.0)]
    add: AddMap | None = parts.attn_add if component == "attn_out" else parts.mlp_add
    if add is None:
        return []
    if add.keeps_stream:
        return [(add.tap, True, add.scale)]
    # Where the sum is normalised, what a part adds is the change of the stream.
    assert parts.mid is not None
    mid = (parts.mid, parts.mid_is_output)
    if component == "attn_out":
        return [(*mid, 1.0), (parts.block, False, -1.0)]
    return [(parts.block, True, 1.0), (*mid, -1.0)]


@contextmanager
def replacing(
    module: nn.Module, places: tuple[Tensor, Tensor], dims: Tensor, values: Tensor
) -> Iterator[None]:
    """Put `values` in place of some dims of a block's output while the block runs.

    `places` are the (text, position) to change, `dims` and `values` [place, dim].
    """

    def hook(module: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
        state = first_state(output)
        changed = state.clone()
        rows, columns, at = (one.to(state.device) for one in (*places, dims))
        changed[rows[:, None], columns[:, None], at] = values.to(state)
        if isinstance(output, torch.Tensor):
            return changed
        return (changed, *output[1:])

    handle = module.register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()
