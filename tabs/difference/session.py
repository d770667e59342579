"""What a visitor's tab of pairs remembers between clicks: results, and what is selected in them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from tabs.difference.choices import Asked, Look

if TYPE_CHECKING:
    from lens_core import PairDifference
    from tabs.pairs_operations import Differing, PairView


@dataclass(frozen=True, eq=False)
class Pairs:
    """The pairs to compare, and how they align."""

    records: tuple[dict[str, Any], ...]
    source: str = "prepared"
    """prepared, template, local, api, file or table."""
    report: dict[str, int] | None = None
    """How many align, and how; None where nobody asked yet."""
    alignments: tuple[dict[str, Any], ...] = ()
    problems: tuple[dict[str, str], ...] = ()
    """Rows of the source that are no pair."""
    serial: int = 0
    """Makes pairs that repeat others new ones."""


@dataclass(frozen=True, eq=False)
class Session:
    """One run: what was asked, what was found, and which pair is looked at."""

    shared: dict[str, Any]
    asked: Asked
    look: Look
    asked_pairs: Pairs
    """What was to be compared."""
    compared: Differing | None = None
    """None while the pairs are run."""
    index: int = 0
    view: PairView | None = None
    view_before: PairView | None = None
    """Without the edit, where there is one."""
    cell: tuple[int, int] | None = None
    """[row, column] of the grids."""
    pace: float | None = None
    """Seconds that copying the states of a pair took, over the square of its length."""

    @property
    def pairs(self) -> tuple[dict[str, Any], ...]:
        """The pairs that were run, in order."""
        return self.asked_pairs.records

    @property
    def shown(self) -> PairDifference | None:
        """The comparison that is looked at."""
        if self.compared is None:
            return None
        before = self.compared.before
        return before if self.look.side == "before" and before else self.compared.found

    @property
    def shown_view(self) -> PairView | None:
        """One pair as the side that is looked at has it."""
        before = self.view_before
        return before if self.look.side == "before" and before else self.view

    @property
    def edited(self) -> bool:
        """Whether an edit held."""
        return self.shared["edit"] is not None

    @property
    def data(self) -> Pairs:
        """The pairs with what the run says of their alignment."""
        return self.asked_pairs if self.compared is None else aligned(self)

    def looking(self, look: Look) -> Session:
        """The same with other choices of what is shown, within what there is."""
        found = self.compared.found if self.compared else None
        sites = found.sites if found else ()
        site = look.site
        if sites and site not in sites:
            site = sites[len(sites) // 2]
        return replace(self, look=replace(look, site=site))


def aligned(session: Session) -> Pairs:
    """The pairs, with how each was aligned in the run, or why it was left out."""
    from tabs.pairs_operations import alignment_record, alignment_report

    assert session.compared is not None
    found = session.compared.found
    reasons = {one.index: one.reason for one in found.left_out}
    compared = iter(found.pairs)
    records = tuple(
        alignment_record(None, reasons[at])
        if at in reasons
        else alignment_record(next(compared).alignment, None)
        for at in range(len(session.pairs))
    )
    return replace(session.asked_pairs, alignments=records, report=alignment_report(records))
