"""What Repair and every click of the repair tab do; all they remember is in the session."""

from __future__ import annotations

import json
import time
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from lens_core.errors import InputError
from lens_core.figures.text import cut
from lens_core.figures.text import shown as shown_token
from tabs.background import Progress
from tabs.graph.clicks import sent, serial
from tabs.repair import charts, effects_views, neuron_views, study_views, views
from tabs.repair.choices import METHODS, YARDSTICK, Batch, Chosen
from tabs.repair.edit_clicks import Checked, Edits, Made, made_name
from tabs.repair.session import Session
from tabs.repair_requests import (
    RepairCompareRequest,
    RepairEvaluateRequest,
    RepairExportRequest,
    RepairPreviewRequest,
    RepairStrengthsRequest,
    RepairViewRequest,
)
from tabs.requests import Request, checked
from tabs.runtime import MAX_EDIT_BYTES, Runtime, UserError, result_of, user_errors
from tabs.said import index_of
from tabs.session_edits import active
from tabs.shell import Going, Shown
from tabs.viewers import drawn
from tabs.words import phrase

REDRAWN_S = 0.5
"""What is drawn while it runs is drawn again so often: drawing keeps a slow browser busy."""
STRENGTHS = [0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5]
MAX_FILE = 2**20
"""Bytes of a file of pairs."""
N_OUTPUTS = 12
"""What a run shows: itself while it goes on, `shown`, studies, the session, and its edit."""
STUDIES = 3
"""Of these, so many are measured only when they are asked for."""

NAME_COLUMNS = 28
"""So wide the name of an edit may be, without its id."""
NOTHING: dict[str, Any] = {"views": [], "of": None}
"""A stack of nothing."""

Reading = Generator[Progress, None, Any]


class Live:
    """What is drawn of a repair that goes on, a few times a second."""

    def __init__(self) -> None:
        self.steps: list[dict[str, Any]] = []
        self.names: list[str] = []
        self._drawn = 0.0

    def takes(self, details: tuple[dict[str, Any], ...]) -> bool:
        """Add what is new; whether it is time to draw it."""
        for step in details:
            if "tokens" in step:
                own = [token for token in step["tokens"] if not token["view"]]
                self.names = [shown_token(token) for token in own]
            self.steps.append({name: step[name] for name in ("epoch", "margins", "kl")})
        if not details or time.monotonic() - self._drawn < REDRAWN_S:
            return False
        self._drawn = time.monotonic()
        return True

    def shows(self) -> tuple[Any, ...]:
        """How far it is; the result that is there stays as it is."""
        last = self.steps[-1] if self.steps else None
        shown = stack(
            ("outcome", "outcome", views.running_outcome(last, self.names)),
            *ran(self.steps, self.names),
        )
        return drawn(shown), *(gr.skip(),) * (N_OUTPUTS - 1)


class Clicks:
    """The handlers of the tab, on one runtime."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    def run(
        self,
        shared: dict[str, Any],
        before: Session | None,
        batch: Batch | None,
        *values: Any,
    ) -> Generator[Going, None, Shown]:
        """Repair, and measure what else changed."""
        with user_errors():
            asked = Chosen(*values).asked(shared, batch)
            request = checked(RepairViewRequest, asked)
        record = yield from self._live(request)
        session = Session.of(before, asked, record)
        made = None
        if record["weight_edit"] is not None:
            label = _label(asked, batch)
            base = tuple((name, strength) for name, strength in record["made_on"])
            made = Made(label, record["weight_edit"], base)
        nothing = drawn(NOTHING)
        return record, (nothing, *shown(record), *(nothing,) * STUDIES, session, made)

    def _live(self, request: RepairViewRequest) -> Generator[Going, None, dict[str, Any]]:
        """The record of a repair, which is drawn while it goes on."""
        live = Live()
        steps = self._runtime.steps("repair_view", request)
        while True:
            try:
                progress = next(steps)
            except StopIteration as end:
                return end.value.to_json()
            if live.takes(progress.detail):
                yield progress, live.shows()
            elif not progress.detail:
                yield progress

    def preview(self, shared: dict[str, Any], target: str, batch: Batch | None) -> str:
        """How prompt and target will be cut into tokens, as far as a model is there to say it."""
        if batch is not None:
            return drawn(views.hint(phrase("repair.batch", n=len(batch.pairs), name=batch.name)))
        wanted = Chosen(target=target).wanted
        ready = self._runtime.stack.ready and self._runtime.device(shared["model"])
        if not wanted or not shared["prompt"] or self._runtime.zero_gpu or not ready:
            return drawn(views.hint(phrase("repair.target_hint")))
        asked = {**shared, "edit": None, "target": wanted}
        try:
            found = result_of(self._read("repair_preview", RepairPreviewRequest, asked))
        except UserError as error:
            return drawn(views.hint(str(error.message), "check"))
        return drawn(views.preview(found))

    def compare(self, session: Session | None) -> Reading:
        """The same repair by every method."""
        if session is None:
            return (gr.skip(),)
        asked = {**session.comparison(), "methods": [*METHODS, YARDSTICK]}
        found = yield from self._read("repair_compare", RepairCompareRequest, asked)
        return (drawn(stack(("table", "table", study_views.comparison_table(found)))),)

    def strengths(self, session: Session | None, edits: Edits) -> Reading:
        """What the edit that was made last does at other strengths."""
        if session is None:
            return (gr.skip(),)
        name = made_name(session, edits)
        own = [*(session.asked["edit"] or []), {"edit": edits[name].edit, "strength": 1.0}]
        asked = {**session.reading(), "edit": own, "strengths": STRENGTHS}
        found = yield from self._read("repair_strengths", RepairStrengthsRequest, asked)
        shown = stack(
            ("head", "heading", study_views.strength_head(name)),
            ("finding", "target", study_views.strength_finding(found)),
            ("chart", "chart", charts.strength_chart(found["strength_curve"])),
        )
        return (drawn(shown),)

    def together(self, session: Session | None, edits: Edits) -> Reading:
        """Which of the edits in use still hold, and what all of them change."""
        if session is None:
            return gr.skip(), gr.skip()
        on = active(edits)
        if not on:
            said = stack(("finding", "target", views.hint(phrase("repair.none_on"), "check")))
            return drawn(said), gr.skip()
        asked = {**session.evaluation(), "edit": on}
        found = yield from self._read("repair_evaluate", RepairEvaluateRequest, asked)
        names = {kept.id: name for name, kept in edits.items()}
        shown = stack(
            ("table", "table", study_views.stack_table(found, names)),
            ("finding", "target", study_views.stack_finding(found)),
        )
        return drawn(shown), Checked(tuple(found["retained"]), found["collapse"] is not None)

    def lora(self, session: Session | None, edits: Edits) -> Reading:
        """The edit that was made last as a LoRA adapter."""
        if session is None:
            return (gr.skip(),)
        own = {"edit": edits[made_name(session, edits)].edit, "strength": 1.0}
        asked = {"model": session.asked["model"], "edit": [own]}
        found = yield from self._read("repair_export", RepairExportRequest, asked)
        file = {"name": found["name"], "base64": found["base64"], "type": "application/zip"}
        return (drawn({**file, "serial": serial()}),)

    def read_file(self, path: str) -> tuple[Any, Any]:
        """The pairs of a file, and whether there is one to drop."""
        from lens_core.repairs.pairs_file import read_pairs

        size = Path(path).stat().st_size
        with user_errors():
            if size > MAX_FILE:
                raise InputError(f"The file has {size} bytes; the limit is {MAX_FILE}. Split it.")
            try:
                text = Path(path).read_text(encoding="utf-8-sig")
            except UnicodeDecodeError as error:
                raise InputError("The file is not UTF-8 text. Save it as UTF-8.") from error
            pairs = read_pairs(text, lines=Path(path).suffix.lower() != ".csv")
        return Batch(Path(path).name, tuple(pairs)), gr.Button(visible=True)

    def _read(self, op: str, kind: type[Request], arguments: dict[str, Any]) -> Reading:
        with user_errors():
            request = checked(kind, arguments)
        found = yield from self._runtime.steps(op, request)
        return found if isinstance(found, dict) else found.to_json()


def shown(record: dict[str, Any]) -> tuple[str, ...]:
    """What the viewers show of a repair, in the order of the tab's outputs."""
    changed = [
        ("map", "neuron_map", neuron_views.neuron_map(record)),
        ("neurons", "table", neuron_views.neurons_table(record)),
    ]
    effects = [
        ("effects", "table", effects_views.effects_table(record)),
        ("wordings", "table", views.wordings_table(record["evaluation"])),
        ("probes", "table", effects_views.probes_table(record)),
    ]
    pictures = (
        views.outcome(record, max_bytes=MAX_EDIT_BYTES),
        stack(*ran(record["steps"], charts.names_of(record))),
        views.tokens_table(record),
        stack(
            ("head", "heading", charts.lens_head(record)),
            ("lens", "chart", charts.lens_chart(record)),
        ),
        stack(*effects),
        stack(*changed),
    )
    return tuple(map(drawn, pictures))


def ran(
    steps: Sequence[dict[str, Any]], names: Sequence[str]
) -> tuple[tuple[str, str, dict[str, Any]], ...]:
    """The chart of the run with its title, for a stack."""
    head = {"title": phrase("repair.ran"), "how": phrase("repair.ran_how")}
    return ("head", "heading", head), ("run", "chart", charts.run_chart(steps, names))


def stack(*shown: tuple[str, str, dict[str, Any] | None]) -> dict[str, Any]:
    """Viewers below each other: (key, name, value); those without a value are left out."""
    views = [
        {"key": key, "name": name, "value": value}
        for key, name, value in shown
        if value is not None
    ]
    return {"views": views, "of": None}


def neuron_chosen(event: gr.EventData, changed: str) -> str:
    """A cell of the map or a row of the table was chosen: the other shows it, too."""
    value = json.loads(changed)
    cells, listed = (view["value"] for view in value["views"])
    if sent(event, "view") == "map":
        bin_, layers = index_of(event, "bin", cells["bins"]), len(cells["layers"])
        layer = index_of(event, "layer", layers)
        listed["selected"] = neuron_views.listed_in(listed, cells, layer, bin_)
    else:
        row = index_of(event, "index", len(listed["rows"]))
        layer, neuron = listed["places"][row]
        sizes = {"n_neurons": cells["n_neurons"], "bins": cells["bins"]}
        bin_, listed["selected"] = neuron_views.bin_of(neuron, **sizes), row
    cells["selected"] = {"layer": layer, "bin": bin_}
    return drawn(value)


def _label(asked: dict[str, Any], batch: Batch | None) -> str:
    """What the edit is called: what it makes the model say, or the file that says it."""
    label = asked["target"].strip() if batch is None else batch.name
    return cut(" ".join(label.split()) or "…", NAME_COLUMNS)
