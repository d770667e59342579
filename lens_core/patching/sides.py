"""The two runs of a pair: what they read, what they said, and their activations."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from lens_core.network import last_logits_only, run
from lens_core.trace import first_state
from lens_core.tree.knocked import attached
from lens_core.tree.removal import INPUT, OUTPUT, Removal

if TYPE_CHECKING:
    from lens_core.anatomy import LayerParts
    from lens_core.models import LoadedModel

COMPONENTS = ("resid_post", "attn_out", "mlp_out", "heads")
FEATURE = {"resid_post": "states", "attn_out": "streams", "mlp_out": "streams", "heads": "heads"}
"""What the self-check must have found exact for a component to be patched."""

Place = tuple[str, int]
"""A component and a layer."""
Activations = dict[Place, Tensor]
"""[position, width] in the model's own type. Of heads it is what the output projection reads."""


@dataclass(frozen=True, eq=False)
class Noise:
    """Gaussian noise on some embeddings (Meng et al., 2022)."""

    positions: tuple[int, ...]
    values: Float[Tensor, "noisy d_embed"]


@dataclass(frozen=True, eq=False)
class Text:
    """What one of the two runs reads."""

    ids: Int[Tensor, " position"]
    noise: Noise | None = None


@dataclass(frozen=True, eq=False)
class Side:
    """One of the two runs as it is without a patch."""

    text: Text
    activations: Activations
    logits: Float[Tensor, "read d_vocab"]


def module_of(loaded: LoadedModel, place: Place) -> tuple[nn.Module, str] | None:
    """Where a component of a layer can be seen and changed; None where the layer has none."""
    component, layer = place
    parts: LayerParts = loaded.anatomy.layers[layer]
    if component == "resid_post":
        return parts.block, OUTPUT
    if component == "heads":
        without = layer in loaded.self_check.layers_without_attention
        return None if without or parts.attn_proj is None else (parts.attn_proj, INPUT)
    add = parts.attn_add if component == "attn_out" else parts.mlp_add
    return None if add is None else (add.tap, OUTPUT)


def run_side(loaded: LoadedModel, text: Text, components: Collection[str], *, n_read: int) -> Side:
    """One run with the activations of some components written down; the caller holds the lock."""
    kept: Activations = {}
    with ExitStack() as hooks:
        for component in components:
            for layer in range(loaded.n_layers):
                _keep(hooks, loaded, (component, layer), kept, length=len(text.ids))
        logits = logits_of(loaded, text, [()], n_read=n_read)[0]
    return Side(text, kept, logits)


def logits_of(
    loaded: LoadedModel, text: Text, rows: Sequence[Removal], *, n_read: int
) -> Float[Tensor, "row read d_vocab"]:
    """The last logits of a text, with other changes in every row; the caller holds the lock."""
    batch = text.ids[None].expand(len(rows), -1)
    with ExitStack() as hooks:
        attached(hooks, rows, length=len(text.ids))
        if text.noise is not None:
            disturb(hooks, loaded, text.noise)
        keep = dict.fromkeys(last_logits_only(loaded.model), n_read)
        logits = run(loaded.model, batch, **keep).logits[:, -n_read:]
    return logits.float()


def disturb(hooks: ExitStack, loaded: LoadedModel, noise: Noise) -> None:
    """Add noise to the embeddings in every pass, until the stack is left."""

    def hook(module: nn.Module, args: tuple[Any, ...], output: Tensor) -> Tensor:
        changed = output.clone()
        changed[:, list(noise.positions)] += noise.values.to(output)
        return changed

    hooks.callback(loaded.model.get_input_embeddings().register_forward_hook(hook).remove)


def _keep(
    hooks: ExitStack, loaded: LoadedModel, place: Place, kept: Activations, *, length: int
) -> None:
    """Write down what passes a place, until the stack is left."""
    found = module_of(loaded, place)
    if found is None:
        return
    module, tensor = found

    def before(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        kept[place] = _rows(first_state((*args, *kwargs.values())), length)

    def after(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        kept[place] = _rows(first_state(output), length)

    if tensor == INPUT:
        hooks.callback(module.register_forward_pre_hook(before, with_kwargs=True).remove)
    else:
        hooks.callback(module.register_forward_hook(after).remove)


def _rows(state: Tensor, length: int) -> Float[Tensor, "position width"]:
    """A copy, since some families change states in place later."""
    return state.detach().reshape(length, -1).clone()


def embedding_spread(loaded: LoadedModel, ids: Int[Tensor, " position"]) -> float:
    """The standard deviation of the embeddings as the model reads them."""
    embedding: Any = loaded.model.get_input_embeddings()
    with torch.no_grad():
        weight = embedding.weight
        place = ids.to(weight.device)
        # Some families multiply their embeddings by a constant.
        factor = embedding(place).float().norm() / weight[place].float().norm().clamp_min(1e-30)
        return float(weight.float().std() * factor)
