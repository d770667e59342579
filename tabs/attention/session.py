"""What a visitor's attention tab remembers between clicks.

The rows of one query are kept, so that a click on a token, a head or a layer runs no model: layers
x heads x tokens twice, and one row of logits.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from tabs.attention.choices import Asked, Look

if TYPE_CHECKING:
    from tabs.attention_operations import Attributed, Looked


@dataclass(frozen=True)
class Wish:
    """What was clicked for the next run; it holds for one prompt."""

    of: tuple[Any, ...]
    """Model, prompt, template and special tokens."""
    query: int = -1
    """Counted from the end of prompt and appended tokens when negative."""
    append: tuple[int, ...] = ()
    """Ids that follow the prompt."""
    target: tuple[int, ...] = ()
    """Token whose importance is measured; the model's own prediction when there is none."""
    source: int | None = None
    """The token to ask about; the one that was, or the most looked at, when None."""
    serial: int = 0
    """Makes a wish that repeats another one a new one."""


@dataclass(frozen=True, eq=False)
class Side:
    """What the model said, with the edit or without it."""

    looked: Looked
    attributed: Attributed | None = None
    problem: str | None = None
    """Why there is no attribution, where it could not be measured."""


@dataclass(frozen=True, eq=False)
class Session:
    """One run: what was asked, what was found, and what is selected in it."""

    shared: dict[str, Any]
    wish: Wish
    look: Look
    asked: Asked
    after: Side
    before: Side | None = None
    """Without the edit, where there is one."""
    source: int = 0
    """The token that heads are asked about."""
    candidate: int | None = None
    """The place of the next token that was chosen among the listed ones."""
    flow: dict[str, Any] = field(default_factory=dict)
    """Side -> the flow, once it was asked for."""
    matrix: tuple[Any, ...] | None = None
    """(side, layer, head, matrix) of the one that was fetched last."""
    heard: int = 0
    """The serial of the last wish: an older one is not fulfilled again."""

    @property
    def shown(self) -> Side:
        """The side that is looked at."""
        return self.before if self.look.side == "before" and self.before else self.after

    @property
    def other(self) -> Side | None:
        """The other one, where there is an edit."""
        if self.before is None:
            return None
        return self.after if self.shown is self.before else self.before

    @property
    def tokens(self) -> list[dict[str, Any]]:
        """The records of prompt and appended tokens."""
        return self.after.looked.header["input"]["tokens"]

    @property
    def group(self) -> list[int]:
        """The selected token, with those of its character where these are joined."""
        own = self.tokens[self.source]
        if not self.look.join:
            return [self.source]
        return [token["i"] for token in self.tokens if token["cluster"] == own["cluster"]]

    @property
    def query(self) -> int:
        """The position that is looked from."""
        return self.after.looked.next.position

    @property
    def n_layers(self) -> int:
        """How many layers the model has."""
        return self.after.looked.header["model"]["n_layers"]

    @property
    def layers(self) -> tuple[int, ...]:
        """The layers that have attention; all where none has."""
        views = self.after.looked.views
        return tuple(range(self.n_layers)) if views is None else views.rows.layers

    def looking(self, look: Look) -> Session:
        """The same with other choices of what is shown, within what there is."""
        layers = self.layers
        head = look.head
        known = head in ("mean", "max") or (look.one_head or 0) < self.n_heads
        if not known or not (head.isdecimal() or head in ("mean", "max")):
            head = "mean"
        wanted = layers[-1] if look.layer < 0 else look.layer
        layer = min(layers, key=lambda one: abs(one - wanted))
        kept = look.side == self.look.side and (self.candidate or 0) < look.k
        candidate = self.candidate if kept else None
        return replace(self, look=replace(look, layer=layer, head=head), candidate=candidate)

    @property
    def n_heads(self) -> int:
        """How many heads a layer has."""
        return self.after.looked.header["model"]["n_heads"] or 1

    def arguments(self, *, edited: bool = True) -> dict[str, Any]:
        """The shared arguments of a request, with what was appended."""
        edit = self.shared["edit"] if edited else None
        return {**self.shared, "edit": edit, "append": list(self.wish.append)}


def place_of(shared: dict[str, Any]) -> tuple[Any, ...]:
    """What a wish holds for."""
    return tuple(shared[name] for name in ("model", "prompt", "template", "special"))
