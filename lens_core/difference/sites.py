"""Where activations are read: what a component of a layer is, and how wide it is.

Most sites are a sum of what passes through modules of the model. Two lie behind the last block,
and are worked out from its output, at the positions that are wanted alone: `final_norm` by the
model's own final norm, and `logits` by the readout, which the self-check has held against the
model's own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING

from torch import nn

from lens_core.errors import NotExactError

if TYPE_CHECKING:
    from lens_core.anatomy.parts import AddMap, LayerParts
    from lens_core.models import LoadedModel

Site = tuple[str, int]
"""Component and layer; the embedding is ("resid_post", -1)."""

FEATURE = {
    "resid_post": "states",
    "attn_out": "streams",
    "mlp_out": "streams",
    "resid_mid": "streams",
    "mlp_act": "neurons",
    "heads": "heads",
    "final_norm": "readout",
    "logits": "readout",
}
"""What the self-check must have found exact for a component to be read."""
COMPONENTS = tuple(FEATURE)
"""In the order of the sites: resid_post (the stream after each block), attn_out and mlp_out (as
they are added to it), resid_mid (the stream after attention), mlp_act (neurons: what the MLP's down
projection reads), heads (all heads' outputs behind one another: what the attention's output
projection reads), final_norm (the last state after the final norm), logits."""
ENDS = ("final_norm", "logits")
"""Of the whole model; they count as the last layer's."""
UNTESTED = ("logits",)
"""Components that are compared but neither tested by dim nor kept: their entries are tokens, not
dims of a state, and a vocabulary would be most of what all tests are corrected for, and most of the
memory."""
EMBED = -1
"""The layer of the embeddings, as they enter the first block."""

Term = tuple[nn.Module, bool, float]
"""A module, whether its output is taken or its input, and the factor it enters with."""


@dataclass(frozen=True)
class Layout:
    """Sites of several widths behind one another."""

    widths: tuple[int, ...]

    @property
    def offsets(self) -> tuple[int, ...]:
        """Where each site begins, and where the last one ends."""
        return (0, *accumulate(self.widths))

    @property
    def total(self) -> int:
        """The entries of all sites."""
        return sum(self.widths)

    @property
    def width(self) -> int | None:
        """The width of all sites; None where they differ or there are none."""
        return self.widths[0] if len(set(self.widths)) == 1 else None

    def part(self, index: int) -> slice:
        """The entries of one site."""
        start = self.offsets[index]
        return slice(start, start + self.widths[index])


def layout_of(loaded: LoadedModel, sites: Sequence[Site]) -> Layout:
    """How wide the sites are."""
    return Layout(tuple(_width(loaded, site) for site in sites))


def has_site(loaded: LoadedModel, site: Site) -> bool:
    """Whether a model has such a place.

    A block without attention or MLP adds nothing with it, so these two are always there.
    """
    component, layer = site
    if layer == EMBED:
        return component == "resid_post"
    parts = loaded.anatomy.layers[layer]
    if component == "resid_mid":
        return parts.has_mid
    if component == "mlp_act":
        return parts.mlp_proj is not None
    if component == "heads":
        without = loaded.self_check.layers_without_attention
        return parts.attn_proj is not None and layer not in without
    if component == "final_norm":
        return loaded.readout.norm is not None
    return True


_MISSING = {
    "resid_mid": "no state between attention and MLP, which read the same one",
    "mlp_act": "no single down projection that neurons enter (a mixture of experts chooses others "
    "for every token)",
    "heads": "no attention with heads",
    "final_norm": "no final norm of its own",
}


def missing(loaded: LoadedModel, component: str, layers: Sequence[int]) -> NotExactError:
    """That a model has no such place in any of the layers."""
    named = f" in layers {', '.join(map(str, layers))}" if component not in ENDS else ""
    return NotExactError(
        f"{component} does not exist: {loaded.facts.class_name} has {_MISSING[component]}{named}. "
        "Leave it out of components."
    )


def terms_of(layers: Sequence[LayerParts], site: Site) -> list[Term]:
    """What a site is the sum of, or worked out from; nothing where a block lacks the part."""
    component, layer = site
    if layer == EMBED:
        return [(layers[0].block, False, 1.0)]
    parts = layers[layer]
    if component == "resid_post" or component in ENDS:
        return [(parts.block, True, 1.0)]
    if component in ("mlp_act", "heads"):
        module = parts.mlp_proj if component == "mlp_act" else parts.attn_proj
        assert module is not None
        return [(module, False, 1.0)]
    if component == "resid_mid":
        return [(*_mid(parts), 1.0)]
    add: AddMap | None = parts.attn_add if component == "attn_out" else parts.mlp_add
    if add is None:
        return []
    if add.keeps_stream:
        return [(add.tap, True, add.scale)]
    # Where the sum is normalised, what a part adds is the change of the stream.
    if component == "attn_out":
        return [(*_mid(parts), 1.0), (parts.block, False, -1.0)]
    return [(parts.block, True, 1.0), (*_mid(parts), -1.0)]


def _mid(parts: LayerParts) -> tuple[nn.Module, bool]:
    assert parts.mid is not None
    return parts.mid, parts.mid_is_output


def _width(loaded: LoadedModel, site: Site) -> int:
    component, layer = site
    if component == "logits":
        return loaded.readout.d_vocab
    if component not in ("mlp_act", "heads"):
        return loaded.facts.d_model
    ((module, _, _),) = terms_of(loaded.anatomy.layers, site)
    # An adapter is wrapped around the projection that knows.
    for part in module.modules():
        for name in ("in_features", "nx"):
            if isinstance(size := getattr(part, name, None), int):
                return size
    raise NotExactError(
        f"{component} cannot be read in layer {layer}: its projection ({type(module).__name__}) "
        "does not say how many inputs it has (no in_features). Leave it out of components."
    )
