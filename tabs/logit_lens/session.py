"""What a visitor's logit lens remembers between clicks: small, and never a result."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from tabs.logit_lens.choices import Chosen
from tabs.logit_lens.views import grid_rows

MAX_LINES = 8
"""How many lines can be followed at once; the oldest goes when another comes."""

MAX_GROUP = 4
"""How many tokens can be summed in one line."""

Line = tuple[int, ...]
"""One token, or a group of tokens whose probabilities are summed."""


@dataclass(frozen=True)
class Session:
    """One run: what was asked, which cells it drew, and what is selected in it."""

    shared: dict[str, Any]
    """The arguments of the run that every reading of it repeats, the edit among them."""
    chosen: Chosen
    """The controls as they were for this run: a click does not read the next one's."""
    ids: tuple[int, ...]
    """The tokens that were read, prompt and generated ones."""
    n_prompt: int
    vocab_size: int
    window: int
    """Which window of positions it was asked for; 0 for none."""
    columns: tuple[int, ...]
    """The positions that the heat map draws."""
    cells: tuple[tuple[int, ...], ...]
    """The token in every cell, [row][column]."""
    position: int
    """The position that is looked at closely."""
    pinned: tuple[Line, ...] = ()
    """What was chosen to be followed; when empty, the strongest candidates are."""
    target: int | None = None
    """The token whose logit is taken apart; the model's own prediction when none was chosen."""
    lines: tuple[Line, ...] = ()
    """What is drawn: the pinned lines, or the strongest candidates."""
    ranks: tuple[tuple[int, ...], ...] = ()
    predicted: tuple[int, ...] = ()

    @property
    def n_tokens(self) -> int:
        """How many tokens there are."""
        return len(self.ids)

    @classmethod
    def of(
        cls, shared: dict[str, Any], result: dict[str, Any], *, chosen: Chosen, window: int
    ) -> Session:
        """The session right after a run: its last prediction is selected."""
        read = [name for name in result["components"] if name != "embed"]
        rows = grid_rows(result, read[0]) if read else []
        n_tokens, n_prompt = len(result["input"]["ids"]), result["input"]["n_prompt"]
        return cls(
            shared=shared,
            chosen=chosen,
            ids=tuple(result["input"]["ids"]),
            n_prompt=n_prompt,
            window=window,
            vocab_size=result["model"]["vocab_size"],
            columns=tuple(result["positions"]),
            cells=tuple(
                tuple(top[0] for top in result["cells"][name]["top_ids"][index])
                for name, index in rows
            ),
            position=n_tokens - 1 if n_tokens == n_prompt else n_tokens - 2,
        )

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> Session:
        """The session that a JSON file holds: lists become tuples again."""
        values: dict[str, Any] = {name: _frozen(value) for name, value in record.items()}
        values["chosen"] = Chosen(**record["chosen"])
        return cls(**values)

    def at(self, position: int) -> Session:
        """Look at another position; what was followed there is not followed here."""
        if position == self.position:
            return self
        return replace(self, position=position, pinned=(), target=None, lines=())

    def pin(self, token: int) -> Session:
        """Follow a token, and take its logit apart."""
        token = int(token)
        if not self.pinned and any(token in line for line in self.lines):
            return replace(self, target=token)
        # The first token to be chosen is compared with the answer, which is drawn first.
        pinned = self.pinned or self.lines[:1]
        if not any(token in line for line in pinned):
            pinned = (*pinned, (token,))[-MAX_LINES:]
        return replace(self, pinned=pinned, target=token)

    def without(self, index: int) -> Session:
        """Follow one line less; the first removal keeps the others that were drawn."""
        kept = tuple(line for i, line in enumerate(self.lines) if i != index)
        return self._following(kept)

    def joined(self, index: int) -> Session:
        """The line and the one before it as one sum."""
        if index == 0:
            return self
        lines = list(self.lines)
        joined = (*lines[index - 1], *lines[index])
        if len(joined) > MAX_GROUP:
            return self
        lines[index - 1 : index + 1] = [joined]
        return self._following(tuple(lines))

    def apart(self, index: int) -> Session:
        """Every token of the line as a line of its own."""
        lines = list(self.lines)
        lines[index : index + 1] = [(token,) for token in lines[index]]
        return self._following(tuple(lines[:MAX_LINES]))

    def following(self, tokens: list[int]) -> Session:
        """Follow exactly these tokens."""
        return replace(self, pinned=tuple((token,) for token in dict.fromkeys(tokens)))

    def without_edit(self) -> Session:
        """The same tokens, read by the model as it was."""
        return replace(self, shared=original(self.shared, list(self.ids)))

    def with_lines(self, lines: list[list[int]]) -> Session:
        """These are drawn: the pinned lines, or the strongest candidates."""
        return replace(self, lines=tuple(tuple(line) for line in lines))

    def showing(self, detail: dict[str, Any], ranks: list[list[int]]) -> Session:
        """What clicks will refer to: the predictions and the ranks that are drawn."""
        return replace(
            self,
            predicted=tuple(detail["cells"]["resid_post"]["top_ids"][-1][0]),
            ranks=tuple(tuple(row) for row in ranks),
        )

    def _following(self, lines: tuple[Line, ...]) -> Session:
        tokens = [token for line in lines for token in line]
        target = self.target if self.target in tokens else None
        return replace(self, pinned=lines, target=target)


def _frozen(value: Any) -> Any:
    return tuple(_frozen(item) for item in value) if isinstance(value, list) else value


def original(shared: dict[str, Any], ids: list[int]) -> dict[str, Any]:
    """The arguments without the edit, for these very tokens: it might generate others."""
    return {**shared, "edit": None, "ids": ids, "generate": 0}
