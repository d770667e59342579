"""States of many texts at a few positions each, in few forward passes.

Texts of about one length run side by side, padded on the right and masked, which is exact for
every family: with padding on the left, models with absolute positions are wrong. Hooks copy only
the positions that are asked for, the moment they are seen, in float32; the last block's output is
taken from the block itself, since the library's last hidden state has passed the final norm. The
head is not run; where its logits are wanted, they are worked out from the last states at these
positions.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from lens_core.difference.sites import ENDS, Layout, Site, Term, layout_of, terms_of
from lens_core.errors import NotExactError
from lens_core.models import LoadedModel
from lens_core.network import input_device
from lens_core.progress import tick
from lens_core.trace import first_state

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Ids = tuple[int, ...]
Group = tuple[int, ...]

LOGITS_BYTES = 64 * 2**20
"""Logits that are held at once before they are averaged, in float32."""


class Text(NamedTuple):
    """What a model reads."""

    ids: Ids
    positions: Ids | None = None
    """Where every token stands; None for one after another."""


States = dict[tuple[Text, Group], np.ndarray]
"""By text and positions: the mean of the states there, [entry], all sites behind one another."""


def states_at(
    loaded: LoadedModel,
    wanted: Mapping[Ids, Sequence[Group]],
    sites: Sequence[Site],
    *,
    batch_tokens: int,
) -> dict[tuple[Ids, Group], np.ndarray]:
    """The states of texts at their positions, averaged over each group of positions.

    Every text runs once, however often it is asked for. The sites are all of one width: each state
    is [site, width].
    """
    texts = {Text(ids): groups for ids, groups in wanted.items()}
    found = vectors_at(loaded, texts, sites, batch_tokens=batch_tokens)
    shape = (len(sites), -1)
    return {(text.ids, group): rows.reshape(shape) for (text, group), rows in found.items()}


def vectors_at(
    loaded: LoadedModel,
    wanted: Mapping[Text, Sequence[Group]],
    sites: Sequence[Site],
    *,
    batch_tokens: int,
) -> States:
    """`states_at` for sites of any width, behind one another as `layout_of` says."""
    found: States = {}
    layout = layout_of(loaded, sites)
    batches = list(in_batches(list(wanted), batch_tokens))
    for done, texts in enumerate(batches, 1):
        groups = [(row, group) for row, text in enumerate(texts) for group in wanted[text]]
        states = _gathered(loaded, texts, groups, sites, layout)
        for (row, group), one in zip(groups, states, strict=True):
            found[texts[row], group] = one
        tick("prompt", done, len(batches))
    return found


def in_batches(texts: Sequence[Text], batch_tokens: int) -> Iterator[list[Text]]:
    """Texts of about one length together; a batch holds so many tokens, padding included."""
    batch: list[Text] = []
    # By the ids, too, so that a batch does not depend on the order of the pairs.
    for text in sorted(texts, key=lambda text: (len(text.ids), text.ids, text.positions or ())):
        if batch and (len(batch) + 1) * len(text.ids) > batch_tokens:
            yield batch
            batch = []
        batch.append(text)
    if batch:
        yield batch


@torch.no_grad()
def _gathered(
    loaded: LoadedModel,
    texts: Sequence[Text],
    groups: Sequence[tuple[int, Group]],
    sites: Sequence[Site],
    layout: Layout,
) -> Float[np.ndarray, "group entry"]:
    """The mean states of one pass at (text, positions)."""
    places = [(row, at) for row, group in groups for at in group]
    rows, columns = torch.tensor(places, dtype=torch.long).T
    ids, mask = padded([text.ids for text in texts])
    positions = padded_positions(texts)
    owner = torch.tensor([at for at, (_, group) in enumerate(groups) for _ in group])
    seen: dict[tuple[nn.Module, bool], Tensor] = {}
    with loaded.lock:
        terms = [terms_of(loaded.anatomy.layers, site) for site in sites]
        with ExitStack() as hooks:
            for module, is_output, _ in {term[:2]: term for one in terms for term in one}.values():
                keep = _keeper(seen, (module, is_output), ids.shape, (rows, columns))
                _listen(hooks, module, is_output, keep)
            run_body(loaded.model, ids, mask, positions)
        out = torch.zeros(len(groups), layout.total)
        for at, ((component, _), one) in enumerate(zip(sites, terms, strict=True)):
            part = out[:, layout.part(at)]
            states = _summed(seen, one)
            if states is not None:
                _add_means(part, _behind(loaded, component, states), owner)
    counts = torch.tensor([len(group) for _, group in groups])
    return (out / counts[:, None]).numpy()


def _summed(
    seen: Mapping[tuple[nn.Module, bool], Tensor], terms: Sequence[Term]
) -> Float[Tensor, "place width"] | None:
    """The states of a site; None where it is a part that the block lacks."""
    found = None
    for module, is_output, factor in terms:
        one = seen[module, is_output].to("cpu") * factor
        found = one if found is None else found + one
    return found


def _behind(
    loaded: LoadedModel, component: str, states: Float[Tensor, "place width"]
) -> Iterator[tuple[slice, Float[Tensor, "some width"]]]:
    """What stands at a site, some places at a time; the caller holds the lock."""
    if component not in ENDS:
        yield slice(0, len(states)), states
        return
    at_once = len(states)
    if component == "logits":
        at_once = max(1, LOGITS_BYTES // (4 * loaded.readout.d_vocab))
    for start in range(0, len(states), at_once):
        some = slice(start, start + at_once)
        read = loaded.readout.logits if component == "logits" else _normed(loaded)
        yield some, read(states[some]).float().cpu()


def _normed(loaded: LoadedModel) -> Callable[[Tensor], Tensor]:
    """The final norm, in the model's own type."""
    weight: Any = loaded.readout.unembed.weight
    assert loaded.readout.norm is not None
    norm = loaded.readout.norm.module
    return lambda states: norm(states.to(device=weight.device, dtype=weight.dtype))


def _add_means(
    into: Float[Tensor, "group width"],
    parts: Iterator[tuple[slice, Float[Tensor, "some width"]]],
    owner: Int[Tensor, " place"],
) -> None:
    """Add what stands at each place to the sum of its group."""
    for places, states in parts:
        into.index_add_(0, owner[places], states)


def padded(texts: Sequence[Ids]) -> tuple[Int[Tensor, "text position"], Tensor | None]:
    """Texts as rows, filled up on the right, and the mask; None where all are of one length."""
    longest = max(map(len, texts))
    ids = torch.zeros(len(texts), longest, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for row, text in enumerate(texts):
        ids[row, : len(text)] = torch.tensor(text, dtype=torch.long)
        mask[row, : len(text)] = 1
    return ids, None if bool(mask.all()) else mask


def padded_positions(texts: Sequence[Text]) -> Int[Tensor, "text position"] | None:
    """Where the tokens of `padded` texts stand; None where all stand one after another."""
    if all(text.positions is None for text in texts):
        return None
    longest = max(len(text.ids) for text in texts)
    rows = []
    for text in texts:
        places = text.positions or tuple(range(len(text.ids)))
        # What is filled up stays within the positions that the model has.
        rows.append([*places, *[places[-1]] * (longest - len(places))])
    return torch.tensor(rows, dtype=torch.long)


def _body(model: PreTrainedModel) -> Any:
    """The blocks with what is before and behind them, without the head."""
    whole: Any = model
    wrapped = getattr(whole, "get_base_model", None)
    return (whole if wrapped is None else wrapped()).base_model


def run_body(
    model: PreTrainedModel,
    ids: Int[Tensor, "text position"],
    mask: Tensor | None,
    positions: Int[Tensor, "text position"] | None = None,
) -> Any:
    """Run the blocks, without the head where the family keeps it apart.

    `positions` need a family that takes them, see `require_positions`.
    """
    body = _body(model)
    device = input_device(model)
    options: dict[str, Any] = {"use_cache": False}
    if positions is not None:
        options["position_ids"] = positions.to(device)
        # Without a mask, transformers takes a gap in the positions for the start of another text.
        mask = torch.ones_like(ids) if mask is None else mask
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


def require_positions(loaded: LoadedModel) -> None:
    """Check that the model can be told where its tokens stand.

    Raises:
        NotExactError: it takes no position ids, or they change nothing or not what they say.
    """
    name = loaded.facts.class_name
    if "position_ids" not in inspect.signature(_body(loaded.model).forward).parameters:
        raise NotExactError(
            f"{name} takes no position ids, so tokens of texts of unequal length cannot be put at "
            "the same positions; leave same_positions out."
        )
    ids, last = (0, 1, 2, 1), ((3,),)
    texts = [Text(ids), Text(ids, (0, 1, 2, 3)), Text(ids, (0, 1, 3, 4))]
    sites = [("resid_post", layer) for layer in range(loaded.n_layers)]
    plain, told, gap = (
        vectors_at(loaded, {text: last}, sites, batch_tokens=4)[text, last[0]] for text in texts
    )
    size = max(float(np.abs(plain).max()), 1e-30)
    same, other = (float(np.abs(one - plain).max()) / size for one in (told, gap))
    if not same <= loaded.self_check.bound or other <= same:
        raise NotExactError(
            f"{name} takes position ids and does not place its tokens by them (told where they "
            f"stand, states differ by {same:.1e}; with a gap, by {other:.1e}), so that texts of "
            "unequal length cannot be put at the same positions; leave same_positions out."
        )


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
