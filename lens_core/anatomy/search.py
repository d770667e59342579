"""From the probe of a model to its anatomy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch

from lens_core.anatomy.layer import layer_parts
from lens_core.anatomy.parts import Anatomy

if TYPE_CHECKING:
    from lens_core.anatomy.probe import Probe


@torch.no_grad()
def find_anatomy(probe: Probe) -> Anatomy:
    """The parts of every block.

    A block that no hypothesis explains is "opaque"; what still is exact works without it.
    """
    constants = config_numbers(probe.model.config.to_dict())
    layers = tuple(layer_parts(block, constants) for block in probe.blocks)
    return Anatomy(layers, d_model=probe.blocks[-1].resid_post.shape[-1])


def config_numbers(config: Mapping[Any, Any]) -> list[float]:
    """The positive numbers of a configuration and their inverses: candidates for multipliers."""
    found: list[float] = []
    for value in config.values():
        if isinstance(value, dict):
            found += config_numbers(value)
        elif isinstance(value, (int, float)) and not isinstance(value, bool) and value > 0:
            found += [float(value), 1.0 / float(value)]
    return found
