"""What was found in a model: for every block, what writes into the stream and how."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jaxtyping import Int
    from torch import Tensor, nn

    from lens_core.anatomy.behaviour import NormFacts


@dataclass(frozen=True, eq=False)
class AddMap:
    """How a projection's output becomes what is added to the stream.

    added = scale * (post_norm(projected) if there is one, else projected)
    """

    tap: nn.Module
    """Its output times `scale` is what is added."""
    scale: float = 1.0
    """The residual multiplier."""
    post_norm: NormFacts | None = None
    """The norm between the projection and the stream (Gemma-2, OLMo-2); then `tap` is it."""
    base_norm: NormFacts | None = None
    """A norm on the stream before the addition (Bloom's residual after layer norm)."""
    sum_norm: NormFacts | None = None
    """A norm on the sum (OPT-350m): stream and part both pass through it."""

    @property
    def keeps_stream(self) -> bool:
        """Whether the stream goes through unchanged, so that out = in + added."""
        return self.base_norm is None and self.sum_norm is None


@dataclass(frozen=True, eq=False)
class Experts:
    """A mixture of experts: the routed ones in one module, and a shared MLP beside them."""

    routed: nn.Module
    """Holds the experts' matrices as parameters of three dimensions."""
    shared_proj: nn.Module | None
    """The down projection of the shared expert."""
    wrapper: nn.Module
    """Its output is the sum of both."""


@dataclass(frozen=True, eq=False)
class LayerParts:
    """One decoder block."""

    block: nn.Module
    topology: str
    """sequential, parallel, post-norm, mixer (no MLP), or opaque (not decomposed)."""
    attn_proj: nn.Module | None = None
    """The output projection of the attention, or of the mixer that stands in its place."""
    attn_add: AddMap | None = None
    mid: nn.Module | None = None
    """Reads resid_mid (or makes it, see `mid_is_output`); None in parallel layers."""
    mid_is_output: bool = False
    mlp_proj: nn.Module | None = None
    """The down projection, whose input is the neurons; None for experts."""
    experts: Experts | None = None
    mlp_add: AddMap | None = None

    @property
    def has_mid(self) -> bool:
        """Whether the state after attention exists in this block."""
        return self.mid is not None


@dataclass(frozen=True, eq=False)
class ValueColumns:
    """Where a family that keeps its own attention code has its values and its pattern."""

    projection: nn.Module
    columns: Int[Tensor, " head_x_value"]
    """For every entry of the output projection's input, the entry of `projection`'s output."""
    attention: nn.Module
    """Answers with the pattern when it is asked for."""


@dataclass(frozen=True, eq=False)
class Anatomy:
    """Where a model keeps its parts."""

    layers: tuple[LayerParts, ...]
    d_model: int
    values: tuple[ValueColumns | None, ...] = ()
    """One a layer for families outside transformers' attention registry; empty for the others."""

    @property
    def topology(self) -> str:
        """The kinds of block, in order of first appearance, joined by "+"."""
        return "+".join(dict.fromkeys(layer.topology for layer in self.layers))
