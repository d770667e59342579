"""What was measured when a model was loaded, and which features that allows.

One short prompt is run; everything that must be exact is compared with the model's own numbers.
A feature beyond its bound is switched off, with the measured error in its message.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from lens_core.anatomy.probe import position_rows
from lens_core.attention_capture import gate_rel_err
from lens_core.bounds import bound_of
from lens_core.dissection import Dissection, dissect

if TYPE_CHECKING:
    from lens_core.anatomy import Anatomy, Probe
    from lens_core.readout import Readout

FEATURES = ("states", "readout", "streams", "attribution", "heads", "neurons")

CAPTURE_BOUND = 1e-3
"""A pass with attention recorded may differ this much from the default one before it is said."""


@dataclass(frozen=True)
class SelfCheck:
    """Errors relative to the largest entry, None where there was nothing to measure."""

    bound: float
    readout_rel_err: float | None = None
    """Readout of the last state against the model's own logits."""
    streams_rel_err: float | None = None
    """Stream + attention + MLP against the next state; output against the next block's input."""
    attribution_rel_err: float | None = None
    """Logits summed from parts with the frozen norm against the model's own."""
    heads_rel_err: float | None = None
    """Stream + bias + all (source, head) parts against the state after attention."""
    neurons_rel_err: float | None = None
    """Stream + bias + all neurons against the block's output."""
    capture_vs_default_rel_err: float | None = None
    """Logits with attention recorded against those of the model's default attention."""
    layers_without_attention: tuple[int, ...] = ()
    """Linear attention or state space: one opaque mixer, no sources and heads."""
    off: Mapping[str, str] = field(default_factory=dict)
    """Why a feature is off, by feature."""

    @property
    def completeness_rel_err(self) -> float | None:
        """The largest of the errors of streams, heads and neurons that could be measured."""
        measured = (self.streams_rel_err, self.heads_rel_err, self.neurons_rel_err)
        found = [error for error in measured if error is not None]
        return worst(found) if found else None

    @property
    def warnings(self) -> list[str]:
        """What a reader of any result of this model should know."""
        said = list(self.off.values())
        deviation = self.capture_vs_default_rel_err
        if deviation is not None and deviation > CAPTURE_BOUND:
            said.append(
                f"With attention recorded this model's logits differ by {deviation:.1e} from its "
                "default attention; views of heads and sources show the recorded pass."
            )
        return said

    def reason_off(self, feature: str) -> str | None:
        """Why a feature is off, or None when it is exact."""
        assert feature in FEATURES, feature
        return self.off.get(feature)

    def header(self) -> dict[str, Any]:
        """The part that every result header carries."""
        return {
            "readout_rel_err": self.readout_rel_err,
            "completeness_rel_err": self.completeness_rel_err,
            "capture_vs_default_rel_err": self.capture_vs_default_rel_err,
        }

    def to_json(self) -> dict[str, Any]:
        """Plain Python values of everything that was measured."""
        return {
            **self.header(),
            "streams_rel_err": self.streams_rel_err,
            "attribution_rel_err": self.attribution_rel_err,
            "heads_rel_err": self.heads_rel_err,
            "neurons_rel_err": self.neurons_rel_err,
            "bound": self.bound,
            "layers_without_attention": list(self.layers_without_attention),
            "off": dict(self.off),
        }


@torch.no_grad()
def self_check(
    probe: Probe, anatomy: Anatomy, readout: Readout | None, *, quantized: bool = False
) -> tuple[SelfCheck, Dissection | None]:
    """Measure a model on its probe.

    The dissection of the probe is handed back too, since the sizes of heads and neurons show in it.
    """
    allowed = bound_of(str(probe.model.dtype).removeprefix("torch."), quantized=quantized)
    found = _Findings(allowed)
    _check_readout(probe, readout, found)
    dissection = None
    if _has_one_stream(probe, found):
        _check_streams(probe, anatomy, found)
    if "streams" not in found.off:
        dissection = dissect(probe.model, anatomy, probe.ids)
        _check_parts(probe, dissection, found)
    for feature in ("heads", "neurons", "attribution"):
        if "streams" in found.off:
            found.off.setdefault(feature, found.off["streams"])
    without = () if dissection is None else _without_attention(dissection)
    check = SelfCheck(allowed, layers_without_attention=without, off=found.off, **found.errors)
    return check, dissection


def relative_error(found: Tensor, wanted: Tensor) -> float:
    """The largest difference in a row against the largest entry of that row, over all rows."""
    found, wanted = found.float(), wanted.float().to(found.device)
    size = wanted.abs().amax(-1).clamp_min(1e-30)
    return float(((found - wanted).abs().amax(-1) / size).max())


def worst(errors: Iterable[float]) -> float:
    """The largest error; not a number as soon as one of them is none."""
    found = list(errors)
    return math.nan if any(math.isnan(error) for error in found) else max(found)


@dataclass(frozen=True)
class _Findings:
    """What was measured so far, and what that switches off."""

    bound: float
    errors: dict[str, float | None] = field(default_factory=dict)
    """By field of `SelfCheck`."""
    off: dict[str, str] = field(default_factory=dict)

    def judge(self, feature: str, what: str, error: float, *, bound: float | None = None) -> None:
        """Switch a feature off whose error exceeds the bound, or is not a number."""
        bound = self.bound if bound is None else bound
        if not error <= bound:
            self.off[feature] = (
                f"{what} is off by {error:.1e} on this model, and the bound is {bound:.0e}: "
                "this view would be wrong and is switched off."
            )


def _check_readout(
    probe: Probe,
    readout: Readout | None,
    found: _Findings,
) -> None:
    if readout is None:
        found.off["readout"] = (
            f"No chain of modules leads from the last block of {type(probe.model).__name__} to "
            "its logits, so states cannot be read as predictions."
        )
        found.off["attribution"] = found.off["readout"]
        return
    found.errors["readout_rel_err"] = readout.rel_err
    found.judge("readout", "The readout of the last state", readout.rel_err)
    if readout.linear_steps is None:
        found.off["attribution"] = "What lies between the final norm and the head is not linear."
        return
    found.errors["attribution_rel_err"] = readout.parts_rel_err
    found.judge("attribution", "The sum of the parts' logits", readout.parts_rel_err)


def _has_one_stream(probe: Probe, found: _Findings) -> bool:
    for layer, block in enumerate(probe.blocks):
        if position_rows(block.resid_post) is None:
            shape = list(block.resid_post.shape)
            found.off["states"] = (
                f"Block {layer} ({type(block.block).__name__}) passes on a state of shape "
                f"{shape}, not one row a token: this model has no single stream to read."
            )
            found.off["readout"] = found.off.get("readout", found.off["states"])
            found.off["streams"] = found.off["states"]
            return False
    return True


def _check_streams(
    probe: Probe,
    anatomy: Anatomy,
    found: _Findings,
) -> None:
    """Each block must hand its output on unchanged, and be the sum of its parts."""
    pairs = zip(probe.blocks, probe.blocks[1:], strict=False)
    handed = [relative_error(a.resid_post, b.resid_pre) for a, b in pairs]
    if handed and not worst(handed) <= 0:
        layer = next(index for index, error in enumerate(handed) if not error <= 0)
        what = f"The output of block {layer} against the input of block {layer + 1}"
        found.judge("states", what, handed[layer], bound=0.0)
    opaque = [i for i, parts in enumerate(anatomy.layers) if parts.topology == "opaque"]
    if opaque or "states" in found.off:
        error = worst([_unexplained(probe, anatomy, layer) for layer in opaque] + handed)
        found.errors["streams_rel_err"] = error
        where = f"Block {opaque[0]}" if opaque else "The stream"
        found.off["streams"] = (
            f"{where} of {type(probe.model).__name__} is not its input plus attention plus MLP "
            f"(off by {error:.1e}, the bound is {found.bound:.0e}): it cannot be taken apart "
            "exactly."
        )


def _unexplained(probe: Probe, anatomy: Anatomy, layer: int) -> float:
    """What the input plus the mixer's projection leave unexplained of a block's output."""
    block, parts = probe.blocks[layer], anatomy.layers[layer]
    out = next((c.output for c in block.calls if c.module is parts.attn_proj), None)
    total = block.resid_pre
    if out is not None and out.numel() == total.numel():
        total = total + out.reshape(total.shape)
    return relative_error(total, block.resid_post)


def _check_parts(
    probe: Probe,
    dissection: Dissection,
    found: _Findings,
) -> None:
    trace, anatomy = dissection.trace, dissection.anatomy
    total = trace.resid_mid + trace.mlp_out
    whole = relative_error(total, trace.resid_post)
    for layer, parts in enumerate(anatomy.layers):
        if parts.has_mid:
            added = trace.resid_pre[layer] + trace.attn_out[layer]
            whole = worst([whole, relative_error(added, trace.resid_mid[layer])])
    found.errors["streams_rel_err"] = whole
    found.judge("streams", "The sum of stream, attention and MLP", whole)
    _check_heads(probe, dissection, found)
    _check_neurons(dissection, found)


def _check_heads(
    probe: Probe,
    dissection: Dissection,
    found: _Findings,
) -> None:
    logits = dissection.attention.logits
    found.errors["capture_vs_default_rel_err"] = relative_error(logits, probe.logits)
    measured = []
    for layer in range(len(dissection.anatomy.layers)):
        parts = dissection.heads(layer)
        if parts is None:
            continue
        total = parts.residual + parts.bias + parts.head_sum().sum(1)
        if not dissection.anatomy.layers[layer].has_mid:
            total = total + dissection.trace.mlp_out[layer]
        measured.append(relative_error(total, parts.whole))
    if not measured:
        name = type(probe.model).__name__
        found.off["heads"] = f"No layer of {name} has an attention pattern: its mixers are opaque."
        return
    layers = enumerate(dissection.attention.layers)
    gated = [i for i, attention in layers if attention is not None and attention.gate is not None]
    if gated:
        measured.append(gate_rel_err(probe, dissection.anatomy, gated))
    found.errors["heads_rel_err"] = worst(measured)
    found.judge("heads", "The sum over heads and sources", worst(measured))


def _check_neurons(dissection: Dissection, found: _Findings) -> None:
    measured = []
    for layer, parts in enumerate(dissection.anatomy.layers):
        if parts.mlp_add is None:
            continue
        neurons = dissection.neurons(layer)
        if neurons is None:
            found.off["neurons"] = (
                f"The neurons of block {layer} ({type(parts.mlp_add.tap).__name__}) cannot be "
                "told apart, so only the MLP as a whole is shown."
            )
            return
        whole, _, residual = dissection.mlp(layer)
        if not parts.has_mid:
            residual = residual + dissection.trace.attn_out[layer]
        measured.append(relative_error(residual + neurons.bias + neurons.total(), whole))
    if not measured:
        found.off["neurons"] = "This model has no MLP, so it has no neurons to show."
        return
    found.errors["neurons_rel_err"] = worst(measured)
    found.judge("neurons", "The sum over neurons", worst(measured))


def _without_attention(dissection: Dissection) -> tuple[int, ...]:
    layers = enumerate(dissection.attention.layers)
    return tuple(layer for layer, attention in layers if attention is None)
