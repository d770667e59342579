"""The nodes of the graph: their names, and numbers that order them from bottom to top.

X0_t is the input of layer 0 at position t. In layer l: B{l}_t what biases add, S{l}_t what an
opaque mixer adds, A{l}_t the state after attention, M{l}_t the MLP, I{l}_t the layer's output.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int

from lens_core.errors import InputError

LETTERS = ("X", "B", "S", "A", "M", "I")
"""From bottom to top within a layer."""
NODE_KINDS = ("token", "bias", "mixer", "after_attn", "ffn", "after_ffn")
"""What the letters stand for."""

_NAME = re.compile(r"([XBSAMI])(\d+)_(\d+)")


@dataclass(frozen=True)
class Node:
    """One node by letter, layer and position."""

    letter: str
    layer: int
    position: int

    @property
    def id(self) -> str:
        """Its name, such as I3_5."""
        return f"{self.letter}{self.layer}_{self.position}"

    @property
    def kind(self) -> str:
        """What it is, in a word."""
        return NODE_KINDS[LETTERS.index(self.letter)]

    @staticmethod
    def of(name: str) -> Node:
        """The node of a name.

        Raises:
            InputError: the text names no node.
        """
        match = _NAME.fullmatch(name) if isinstance(name, str) else None
        if match is None or (match[1] == "X" and int(match[2]) != 0):
            raise InputError(f'"{name}" is no node; nodes are written X0_t, A3_t, M3_t or I3_t.')
        return Node(match[1], int(match[2]), int(match[3]))


@dataclass(frozen=True)
class Codes:
    """Nodes as whole numbers, so that edges always lead from a smaller one to a larger one."""

    n_positions: int

    def of(
        self, letter: str, layer: int, positions: int | Int[np.ndarray, " n"]
    ) -> Int[np.ndarray, " n"]:
        """The numbers of nodes of one letter in one layer."""
        level = layer * len(LETTERS) + LETTERS.index(letter)
        return level * self.n_positions + np.atleast_1d(np.asarray(positions, dtype=np.int64))

    def input(self, layer: int, positions: int | Int[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
        """The numbers of the states that enter a layer: the outputs of the one below it."""
        return self.of("I", layer - 1, positions) if layer else self.of("X", 0, positions)

    def level(self, codes: Int[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
        """Layer and letter as one number; no edge stays within one level."""
        return codes // self.n_positions

    def node(self, code: int) -> Node:
        """The node of a number."""
        level, position = divmod(int(code), self.n_positions)
        layer, letter = divmod(level, len(LETTERS))
        return Node(LETTERS[letter], layer, position)
