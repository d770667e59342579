"""What a visitor's repair remembers between clicks: small, and never a result."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from tabs.repair.choices import OWN


@dataclass(frozen=True)
class Session:
    """One run: what was asked, and which edit came of it."""

    asked: dict[str, Any]
    """The arguments of the run: what is measured later does not read the next one's form."""
    edit_id: str | None
    """Of the edit that was made; None where nothing had to be changed."""
    holds: dict[str, tuple[float | None, float]] = field(default_factory=dict)
    """Id of an edit -> the share of its targets that came out when that was last measured, and the
    strength that it had then."""
    made: dict[str, str] = field(default_factory=dict)
    """Id of an edit -> what became of the repair, for those made here."""
    lights: dict[str, str] = field(default_factory=dict)
    """Id of an edit -> green, amber or red."""
    damaging: tuple[str, ...] = ()
    """Ids of edits that were found to damage the model together."""

    @classmethod
    def of(cls, before: Session | None, asked: dict[str, Any], record: dict[str, Any]) -> Session:
        """The session right after a run; what is known of earlier edits stays."""
        edit, found = record["weight_edit"], record["evaluation"]
        known = cls(asked, None) if before is None else replace(before, asked=asked, edit_id=None)
        if edit is not None:
            name = edit["id"]
            known = replace(known, edit_id=name, made={**known.made, name: record["status"]})
            if found is not None:
                lights = {**known.lights, name: found["light"]}
                holds = {**known.holds, name: (found["efficacy"], 1.0)}
                known = replace(known, lights=lights, holds=holds)
        stack = record["stack"]
        if stack is None:
            return known
        return known.checked(stack["retained"], collapsed=stack["collapse"] is not None)

    def checked(self, retained: Iterable[Mapping[str, Any]], *, collapsed: bool) -> Session:
        """The same after the edits in use were measured together."""
        shares = {one["id"]: (one["share"], one["strength"]) for one in retained}
        # What was found of others besides these is still true.
        others = self.damaging if set(self.damaging) - set(shares) else ()
        found = tuple(shares) if collapsed else others
        return replace(self, holds={**self.holds, **shares}, damaging=found)

    def comparison(self) -> dict[str, Any]:
        """The arguments of a comparison of methods: those of the run but what is its method's."""
        own = ("method", "epochs", "lr", "compat")
        return {name: value for name, value in self.asked.items() if name not in own}

    def reading(self) -> dict[str, Any]:
        """The model, and how prompts are read."""
        return {name: self.asked[name] for name in OWN if name != "edit"}

    def evaluation(self) -> dict[str, Any]:
        """The arguments of a measurement that does not depend on what the edits are."""
        return {**self.reading(), "probes": self.asked["probes"]}
