"""Attention flow (Abnar and Zuidema, 2020): the most that can come from a token to a position.

The layers are a network of pipes, whose capacities are the layer matrices of the rollout; the flow
of a token is the maximum flow from it to the position that is explained. Tokens are looked at one
by one, so flows sum to more than 1.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Float32

MAX_TOKENS = 32
"""The network has layers x tokens^2 pipes, and is solved once for each token."""

_UNIT = 2**30
"""Capacities are whole numbers for the solver: a flow is exact to a billionth a pipe."""


def attention_flow(
    layers: Float[np.ndarray, "layer query key"], query: int
) -> Float32[np.ndarray, " source"]:
    """The maximum flow from every token to one position, 0 to 1.

    Args:
        layers: attention plus stream, rows summing to 1, from the lowest layer up.
        query: the position that is explained.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import maximum_flow

    depth, length = layers.shape[:2]
    level, into, source = np.nonzero(layers > 0)
    capacity = np.floor(layers[level, into, source].astype(np.float64) * _UNIT).astype(np.int32)
    size = (depth + 1) * length
    pipes = (level * length + source, (level + 1) * length + into)
    network = coo_array((capacity, pipes), shape=(size, size)).tocsr()
    goal = depth * length + query
    flows = [maximum_flow(network, token, goal).flow_value for token in range(length)]
    return (np.array(flows) / _UNIT).astype(np.float32)
