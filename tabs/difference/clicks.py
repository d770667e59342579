"""What Run and the clicks of the tab do; all they remember is in the session."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace
from pathlib import Path
from typing import Any

import gradio as gr

from lens_core.errors import InputError
from tabs.background import Progress
from tabs.difference import export
from tabs.difference.choices import Made, Operated, Traced, split
from tabs.difference.data_views import data_stack, records_of, table_rows
from tabs.difference.dimension_views import dimensions_stack
from tabs.difference.layer_views import layers_stack
from tabs.difference.operation_views import operations_stack
from tabs.difference.pair_views import difference_map, lines, restored_map
from tabs.difference.parts import site_name
from tabs.difference.prepared import prepared_records
from tabs.difference.runs import Runs, pace
from tabs.difference.session import Pairs, Session
from tabs.difference.trace_views import trace_stack
from tabs.runtime import Runtime, UserError
from tabs.said import carried, index_of, strip
from tabs.shell import Going, Shown
from tabs.typed import typed_text
from tabs.viewers import drawn

N_SHOWN = 10
"""Components that show a session; a test counts them."""
MAX_FILE = 16 * 2**20

Task = Generator[Going, None, tuple[Any, ...]]


class Clicks:
    """The handlers of the tab, on one runtime."""

    def __init__(self, runtime: Runtime) -> None:
        self._runs = Runs(runtime)

    # Runs

    def run(
        self, shared: dict[str, Any], pairs: Pairs, earlier: Session | None, *values: Any
    ) -> Generator[Going, None, Shown]:
        """Look at one pair, then compare all of them."""
        look, asked = split(values)
        shared = {name: value for name, value in shared.items() if name != "prompt"}
        records = pairs.records
        kept = earlier is not None and earlier.pairs == records
        index = earlier.index if earlier is not None and kept else 0
        after, before = yield from self._runs.view(shared, records[index], trace=False)
        session = Session(shared, asked, look, pairs, index=index, view=after, view_before=before)
        # The pair is shown while its states are copied and all pairs are compared.
        views = yield from _showing(self._shown(session), self._runs.view(shared, records[index]))
        session = replace(
            session, view=views[0], view_before=views[1], pace=pace(records[index], views)
        )
        compared = yield from _showing(
            self._shown(session), self._runs.compare(shared, records, asked.request())
        )
        session = replace(session, compared=compared).looking(look)
        return _strip_record(session), self._shown(session)

    def _shown(self, session: Session) -> tuple[Any, ...]:
        """In the order of the outputs of a run."""
        found = session.compared
        sites = found.found.sites if found else ()
        known = [(site_name(site), site) for site in sites]
        site = gr.Dropdown(choices=known, value=session.look.site) if sites else gr.skip()
        return (
            drawn(lines(session)),
            drawn(difference_map(session)),
            drawn(restored_map(session)),
            drawn(layers_stack(session)) if found else gr.skip(),
            drawn(dimensions_stack(session)) if found else gr.skip(),
            site,
            gr.Radio(visible=session.edited),
            session,
            # What was traced was of another run.
            drawn(NOTHING) if not found else gr.skip(),
            drawn(data_stack(session.data)),
        )

    # Clicks that read what is there

    def look(self, session: Session | None, *values: Any) -> tuple[Any, ...]:
        """The same result shown otherwise."""
        if session is None:
            return (gr.skip(),) * N_SHOWN
        look, _ = split(values)
        session = session.looking(look)
        # The list of sites and the pairs are as they were.
        *shown, _, side, kept, _, _ = self._shown(session)
        return *shown, gr.skip(), side, kept, gr.skip(), gr.skip()

    def cell(self, event: gr.EventData, session: Session) -> tuple[Any, ...]:
        """A cell of either grid is selected in both."""
        sent = carried(event)
        row, column = sent.get("row"), sent.get("column")
        if not isinstance(row, int) or not isinstance(column, int):
            return gr.skip(), gr.skip(), gr.skip()
        session = replace(session, cell=(row, column))
        return drawn(difference_map(session)), drawn(restored_map(session)), session

    def token(self, event: gr.EventData, session: Session) -> tuple[Any, ...]:
        """A token in the bar, which is of A, or one of the pair: its column is selected."""
        assert session.view is not None
        grid = session.view.grid
        side = 1 if carried(event).get("side") == 1 else 0
        ids = (grid.alignment.ids1, grid.alignment.ids2)[side]
        at = index_of(event, "position", len(ids))
        spans = [(one.clean, one.corrupt)[side] for one in grid.columns]
        found = [n for n, (start, stop) in enumerate(spans) if start <= at < stop]
        session = replace(session, cell=(session.cell[0] if session.cell else 0, found[0]))
        return drawn(difference_map(session)), drawn(restored_map(session)), session

    def step(self, event: gr.EventData, session: Session) -> tuple[Any, ...]:
        """The pair before, or the next one; past either end it goes on at the other."""
        by = carried(event).get("by")
        if by not in (-1, 1):
            return (gr.skip(),) * 5
        return self._at(session, (session.index + by) % len(session.pairs))

    def choose(self, event: gr.EventData, session: Session) -> tuple[Any, ...]:
        """A row of the list of pairs."""
        return self._at(session, index_of(event, "index", len(session.pairs)))

    def _at(self, session: Session, index: int) -> tuple[Any, ...]:
        session = self._runs.look(session, index)
        return (
            drawn(lines(session)),
            drawn(difference_map(session)),
            drawn(restored_map(session)),
            self._strip(session),
            session,
        )

    def _strip(self, session: Session) -> Any:
        """Side A in the bar, as a run shows it."""
        if session.compared is None:
            return gr.skip()
        runtime, model = self._runs.runtime, session.shared["model"]
        limit = runtime.max_tokens("difference", model)
        return drawn(strip(_strip_record(session), limit, runtime.device(model)))

    # Tasks

    def trace(self, session: Session | None, *values: Any) -> Task:
        """Causal tracing of the pair that is looked at."""
        session = _needed(session)
        asked = Traced(*values).request()
        after, before = yield from self._runs.trace(session, asked)
        return (drawn(trace_stack(after, before)),)

    def operate(self, shared: dict[str, Any], *values: Any) -> Task:
        """What layers are worth on some texts."""
        asked = Operated(*values).request()
        after, before = yield from self._runs.operate(shared, asked)
        return (drawn(operations_stack(after, before)),)

    def effect(self, session: Session | None) -> Task:
        """Whether the dims that were found at a site matter."""
        session = _needed(session)
        site = _effect_site(session)
        compared = yield from self._runs.effect(session, site)
        session = replace(session, compared=compared)
        return drawn(dimensions_stack(session)), session

    def make(self, shared: dict[str, Any], *values: Any) -> Task:
        """New pairs."""
        found = yield from self._runs.made(shared, Made(*values))
        return _with_pairs(found)

    def open_file(self, shared: dict[str, Any], path: str | None) -> Task:
        """The pairs of a file."""
        content = _read(path)
        found = yield from self._runs.read(shared, "text", {"content": content})
        return _with_pairs(found)

    def take_table(self, shared: dict[str, Any], rows: list[list[Any]], known: Pairs) -> Task:
        """The pairs as they stand in the table now."""
        given = {"pairs": records_of(rows, known)}
        found = yield from self._runs.read(shared, "given", given)
        return _with_pairs(found)

    def add(self, shared: dict[str, Any], known: Pairs, *typed: str) -> Task:
        """One pair that was typed, in front of the others."""
        first, second, *answers = (typed_text(text or "") for text in typed)
        record = {"sentence1": first, "sentence2": second, "type": "own"}
        names = ("answer1", "answer2")
        record |= {name: text or None for name, text in zip(names, answers, strict=True)}
        if not first or not second:
            raise UserError(
                InputError("A side of the pair is empty (0 characters); type both A and B.")
            )
        found = yield from self._runs.read(shared, "given", {"pairs": [record, *known.records]})
        return _with_pairs(found)

    def back(self, shared: dict[str, Any]) -> Task:
        """The prepared pairs again."""
        found = yield from self._runs.read(shared, "given", {"pairs": prepared_records()})
        return _with_pairs(replace(found, source="prepared"))

    def zip(self, session: Session | None) -> Task:
        """The original tool's files."""
        content = yield from self._runs.export(_needed(session))
        return (export.zip_file(content),)


NOTHING: dict[str, Any] = {"views": [], "of": None}


def _showing(
    shown: tuple[Any, ...], steps: Generator[Progress, None, Any]
) -> Generator[Going, None, Any]:
    """The same run, which shows what is there already before it goes on."""
    try:
        # Once: it would be sent again with every progress, and a Stop would wait behind it.
        yield next(steps), shown
        return (yield from steps)
    except StopIteration as end:
        return end.value


def first_pairs() -> Pairs:
    """What the tab opens with."""
    return Pairs(tuple(prepared_records()))


def _with_pairs(found: Pairs) -> tuple[Any, ...]:
    """Everything that shows the pairs themselves."""
    return found, drawn(data_stack(found)), table_rows(found)


def _needed(session: Session | None) -> Session:
    if session is None or session.view is None:
        raise UserError(InputError("There is no result yet; press Run first."))
    return session


def _effect_site(session: Session) -> str:
    """The site with most found dims; the chosen one where it has any."""
    assert session.compared is not None
    counts: dict[str, int] = {}
    for one in session.compared.found.found:
        if one.site.startswith("layer_"):
            counts[one.site] = counts.get(one.site, 0) + 1
    if session.look.site in counts:
        return session.look.site
    if not counts:
        raise UserError(InputError("No dims were found, so there is no set to hold."))
    return max(counts, key=lambda site: counts[site])


def _read(path: str | None) -> str:
    """The text of an uploaded file, unpacked where it is gzipped.

    Raises:
        UserError: too large, or no text.
    """
    import gzip

    if path is None:
        raise UserError(InputError("There is no file; choose one."))
    raw = Path(path).read_bytes()
    if raw[:2] == b"\x1f\x8b":
        with gzip.open(path) as stream:
            raw = stream.read(MAX_FILE + 1)
    if len(raw) > MAX_FILE:
        raise UserError(
            InputError(
                f"The file has more than {MAX_FILE // 2**20} MiB; split it into smaller ones."
            )
        )
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(
            InputError(f"The file is no UTF-8 text (byte {error.start}); save it as UTF-8.")
        ) from error


def _strip_record(session: Session) -> dict[str, Any]:
    """Side A as the token strip and the status line take a result."""
    assert session.view is not None
    assert session.compared is not None
    grid = session.view.grid
    header = session.compared.found.header
    following = grid.following[0]
    return {
        **header,
        "input": {"tokens": grid.header["input"]["sides"][0], "n_prompt": None},
        "vocab": grid.vocab,
        "final_ids": [int(following.ids[0])],
        "final_p": [float(following.p[0])],
        "timing": {"total_s": header["timing"]["total_s"]},
    }
