"""What is measured. Each case prepares itself on a prompt and answers what is to be timed.

The lens cases begin at a trace that is there already, so that their ratios leave the forward out.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch

from lens_core import capture, logit_lens
from lens_core.lens.cells import Grid, lens_cells

if TYPE_CHECKING:
    from jaxtyping import Int
    from torch import Tensor

    from benchmarks.measure import Run
    from lens_core.models import LoadedModel
    from lens_core.trace import Trace

K = 5


def forward(loaded: LoadedModel, ids: Int[Tensor, " position"]) -> Run:
    """The reference: a plain forward with all logits and without a cache."""

    def run() -> object:
        with torch.inference_mode():
            return loaded.model(ids[None], use_cache=False)

    return run


def capture_streams(loaded: LoadedModel, ids: Tensor) -> Run:
    """The stream after every layer, with the logits of all positions."""
    return lambda: capture(loaded, ids, sites=())


def capture_streams_last(loaded: LoadedModel, ids: Tensor) -> Run:
    """The stream after every layer, with the last position's logits alone."""
    return lambda: capture(loaded, ids, sites=(), logits="last")


def capture_all(loaded: LoadedModel, ids: Tensor) -> Run:
    """All five points of every layer, with the logits of all positions."""
    return lambda: capture(loaded, ids)


def capture_all_last(loaded: LoadedModel, ids: Tensor) -> Run:
    """All five points of every layer, with the last position's logits alone."""
    return lambda: capture(loaded, ids, logits="last")


def lens(loaded: LoadedModel, ids: Tensor) -> Run:
    """Every layer and position: top 5, entropy, KL, two followed tokens with their ranks."""
    trace = _trace(loaded, ids)
    grid = _grid(loaded, trace, tuple(range(len(ids))))
    return lambda: lens_cells(loaded, trace, grid, ("resid_post",), scale="final")


def lens_last(loaded: LoadedModel, ids: Tensor) -> Run:
    """The same of the last position alone, the first view of a prompt."""
    trace = _trace(loaded, ids)
    grid = _grid(loaded, trace, (len(ids) - 1,))
    return lambda: lens_cells(loaded, trace, grid, ("resid_post",), scale="final")


def lens_command(loaded: LoadedModel, ids: Tensor) -> Run:
    """`logit_lens` as it is called: forward, cells, attribution, important layers, texts."""
    return lambda: logit_lens(loaded, ids, k=K)


def naive_stack(loaded: LoadedModel, ids: Tensor) -> Run:
    """A peer: all logits at once, softmax and log_softmax of them kept."""
    states = _trace(loaded, ids).resid_post
    layers, positions, _ = states.shape

    def run() -> object:
        with torch.inference_mode():
            logits = loaded.readout.logits(states.flatten(0, 1)).view(layers, positions, -1)
            probs, log_probs = logits.softmax(-1), logits.log_softmax(-1)
            entropy = -(probs * log_probs).sum(-1)
            divergence = (probs[-1] * (log_probs[-1] - log_probs)).sum(-1)
            return probs.topk(K), entropy, divergence

    return run


def layer_loop(loaded: LoadedModel, ids: Tensor) -> Run:
    """A peer: the textbook loop, one layer after another."""
    states = _trace(loaded, ids).resid_post

    def run() -> object:
        with torch.inference_mode():
            final = loaded.readout.logits(states[-1]).log_softmax(-1)
            found = []
            for state in states:
                log_probs = loaded.readout.logits(state).log_softmax(-1)
                entropy = -(log_probs.exp() * log_probs).sum(-1)
                divergence = (final.exp() * (final - log_probs)).sum(-1)
                found.append((log_probs.topk(K), entropy, divergence))
            return found

    return run


CASES: dict[str, Callable[[LoadedModel, Tensor], Run]] = {
    "capture: streams": capture_streams,
    "capture: streams, last logits": capture_streams_last,
    "capture: five points": capture_all,
    "capture: five points, last logits": capture_all_last,
    "lens: all layers and positions": lens,
    "lens: last position": lens_last,
    "lens: logit_lens() as called": lens_command,
    "peer: stack of all logits": naive_stack,
    "peer: loop over layers": layer_loop,
}


def _trace(loaded: LoadedModel, ids: Tensor) -> Trace:
    return capture(loaded, ids, sites=(), logits="none")


def _grid(loaded: LoadedModel, trace: Trace, positions: tuple[int, ...]) -> Grid:
    """The grid that `logit_lens` makes: the model's own prediction and the next token followed."""
    with torch.inference_mode():
        final = loaded.readout.logits(trace.stream[-1]).argmax(-1).cpu()
    following = torch.cat([trace.ids[1:], trace.ids[:1]])
    at = list(positions)
    targets = torch.stack([final, following], 1)[at].clone()
    layers = tuple(range(loaded.n_layers))
    return Grid(layers, positions, final[at].numpy(), targets, ("argmax", "next"), K)
