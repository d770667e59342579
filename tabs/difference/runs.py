"""The runs that the tab of pairs asks for."""

from __future__ import annotations

import time
from collections.abc import Generator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from tabs.asking_pairs import asked_pairs
from tabs.background import Progress
from tabs.difference.choices import Made
from tabs.difference.session import Pairs, Session
from tabs.pairs_requests import (
    CausalTraceRequest,
    LayerOperationsRequest,
    PairDifferenceRequest,
    PairExportRequest,
    PairsRequest,
    PairViewRequest,
)
from tabs.requests import Request, checked
from tabs.runtime import Runtime, result_of, user_errors

if TYPE_CHECKING:
    from lens_core import AttributionPatching, CausalTrace, LayerOperations
    from tabs.pairs_operations import Differing, PairSet, PairView

Steps = Generator[Progress, None, Any]
OWN = ("sentence1", "sentence2", "pair_id", "type", "subtype", "lang", "oriented", "correct")
OWN += ("edit", "carrier", "source", "answer1", "answer2")
MAX_WAIT = 3.0
"""Seconds that a click may take; what takes longer is done by a run, which says how far it is."""


@dataclass(frozen=True)
class Runs:
    """The runs on one runtime; each gives progress and returns its result."""

    runtime: Runtime

    def view(
        self, shared: Mapping[str, Any], pair: Mapping[str, Any], *, trace: bool = True
    ) -> Steps:
        """One pair token by token, with the edit and without it: (after, before or None)."""
        found: list[PairView] = []
        sides = [None] if shared["edit"] is None else [shared["edit"], None]
        for edit in sides:
            given: dict[str, Any] = {"pair": clean(pair), "trace": trace}
            request = _request(PairViewRequest, {**shared, "edit": edit}, **given)
            found.append((yield from self.runtime.steps("pair_view", request)))
        return found[0], found[1] if len(found) > 1 else None

    def compare(
        self, shared: Mapping[str, Any], pairs: tuple[dict[str, Any], ...], asked: dict[str, Any]
    ) -> Generator[Progress, None, Differing]:
        """How all pairs differ."""
        given = {**asked, "pairs": [clean(pair) for pair in pairs]}
        given["before_edit"] = shared["edit"] is not None
        request = _request(PairDifferenceRequest, shared, **given)
        return (yield from self.runtime.steps("pair_difference_view", request))

    def trace(self, session: Session, asked: dict[str, Any]) -> Steps:
        """Which activations carry the difference: (after, before or None)."""
        found: list[CausalTrace | AttributionPatching] = []
        shared, pair = session.shared, clean(session.pairs[session.index])
        sides = [None] if shared["edit"] is None else [shared["edit"], None]
        for edit in sides:
            request = _request(CausalTraceRequest, {**shared, "edit": edit}, pair=pair, **asked)
            found.append((yield from self.runtime.steps("causal_trace_view", request)))
        return found[0], found[1] if len(found) > 1 else None

    def operate(self, shared: Mapping[str, Any], asked: dict[str, Any]) -> Steps:
        """What layers are worth: (after, before or None)."""
        given = {**asked, "before_edit": shared["edit"] is not None}
        request = _request(LayerOperationsRequest, shared, **given)
        found: list[LayerOperations] = yield from self.runtime.steps(
            "layer_operations_view", request
        )
        return found[0], found[1] if len(found) > 1 else None

    def made(self, shared: Mapping[str, Any], made: Made) -> Generator[Progress, None, Pairs]:
        """New pairs from templates, the model or an API."""
        if made.source != "api":
            return (yield from self.read(shared, made.source, made.request()))
        written = yield from asked_pairs(self.runtime.settings, made.asked())
        given: dict[str, Any] = {"pairs": [pair.to_json() for pair in written.pairs]}
        given["same_length"] = made.same_length
        found = yield from self.read(shared, "given", given)
        problems = tuple(written.to_json()["problems"])
        return replace(found, source="api", problems=(*found.problems, *problems))

    def read(
        self, shared: Mapping[str, Any], source: str, given: dict[str, Any]
    ) -> Generator[Progress, None, Pairs]:
        """Pairs of any source, aligned for the model."""
        if source == "given":
            given = {**given, "pairs": [clean(pair) for pair in given["pairs"]]}
        request = _request(PairsRequest, shared, **{**given, "source": source})
        found: PairSet = yield from self.runtime.steps("pairs", request)
        record = found.to_json()
        return Pairs(
            records=tuple(record["pairs"]),
            source={"text": "file", "given": "table"}.get(source, source),
            report=record["report"],
            alignments=tuple(record["alignments"]),
            problems=tuple(record["problems"]),
            serial=time.monotonic_ns(),
        )

    def effect(self, session: Session, site: str) -> Generator[Progress, None, Differing]:
        """The same comparison, and what holding the dims found at a site does."""
        given = {**session.asked.request(), "pairs": [clean(pair) for pair in session.pairs]}
        given |= {"set_effect": site, "before_edit": session.edited}
        request = _request(PairDifferenceRequest, session.shared, **given)
        return (yield from self.runtime.steps("pair_difference_view", request))

    def export(self, session: Session, **options: Any) -> Generator[Progress, None, bytes]:
        """The original tool's files as a zip."""
        given = {**session.asked.request(), "pairs": [clean(pair) for pair in session.pairs]}
        request = _request(PairExportRequest, session.shared, **given, **options)
        return (yield from self.runtime.steps("pair_export", request))

    def look(self, session: Session, index: int) -> Session:
        """Another pair of the same comparison; its states are copied where that is quick."""
        pair = session.pairs[index]
        quick = (session.pace or 0) * length(pair) ** 2 < MAX_WAIT
        after, before = result_of(self.view(session.shared, pair, trace=quick))
        return replace(session, index=index, view=after, view_before=before, cell=None)


def length(pair: Mapping[str, Any]) -> int:
    """Characters of a pair: states to copy grow with them, and so does the cost of each."""
    return len(pair["sentence1"]) + len(pair["sentence2"])


def pace(pair: Mapping[str, Any], views: tuple[PairView, PairView | None]) -> float | None:
    """Seconds that copying the states of a pair took, over the square of its length."""
    traces = [view.trace for view in views if view is not None and view.trace is not None]
    seconds = sum(trace.header["timing"]["total_s"] for trace in traces)
    return seconds / max(1, length(pair)) ** 2 if traces else None


def clean(pair: Mapping[str, Any]) -> dict[str, Any]:
    """A pair as a request takes it."""
    return {name: pair[name] for name in OWN if name in pair}


def _request(kind: type[Request], shared: Mapping[str, Any], **given: Any) -> Any:
    own = {name: shared[name] for name in ("model", "template", "special", "edit")}
    with user_errors():
        return checked(kind, {**own, **given})
