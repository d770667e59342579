"""What the inspector shows of an edge or a node of the graph, as the views of a `stack`."""

from __future__ import annotations

from typing import Any

from tabs.graph.session import Session
from tabs.graph.views import (
    MAX_MAP,
    PAGE,
    column,
    key_of,
    place,
    place_of,
    selection_of,
    stage,
    table,
)
from tabs.logit_lens.views import short
from tabs.words import phrase

Detail = dict[str, Any]
View = dict[str, Any]


def edge_stack(detail: Detail, session: Session) -> dict[str, Any]:
    """An edge: what it is, its heads, where the chosen one looks, and what it writes."""
    tokens = session.tokens
    views = [_view("edge", "selection", edge_head(detail, session))]
    if detail["kind"] == "attention":
        views.append(_view("heads", "bars", heads_bars(detail)))
        if detail["maps"] is not None:
            views.append(_view("maps", "maps", head_maps(detail, tokens)))
        if detail["head"]["on_edge"] is not None:
            views.append(_view("pushed", "pushed", head_pushed(detail)))
    return {"views": views, "of": _of(detail)}


def node_stack(detail: Detail, session: Session, neuron: int | None = None) -> dict[str, Any]:
    """A node: the tokens of its state, or the neurons of an MLP and what it adds.

    `neuron` is the place of the one that was chosen among those that are listed.
    """
    views = [_view("node", "selection", node_head(detail, session))]
    if detail["top"] is not None:
        views.append(_view("state", "table", state_table(detail)))
    if detail["neurons"] is not None and detail["neurons"]["experts"] is not None:
        views.append(_view("experts", "bars", experts_bars(detail["neurons"])))
    if detail["neurons"] is not None:
        views.append(_view("neurons", "table", neurons_table(detail, neuron)))
    if detail["pushed"] is not None:
        views.append(_view("pushed", "pushed", node_pushed(detail)))
    return {"views": views, "of": _of(detail)}


def root_stack(detail: Detail) -> dict[str, Any]:
    """The tokens of the root, which stay beside whatever is selected."""
    if detail["top"] is None:
        return {"views": [_view("pushed", "pushed", node_pushed(detail))], "of": _of(detail)}
    return {"views": [_view("state", "table", state_table(detail, root=True))], "of": _of(detail)}


def _view(key: str, name: str, value: dict[str, Any]) -> View:
    return {"key": key, "name": name, "value": value}


def _of(detail: Detail) -> dict[str, Any]:
    """What clicks within the views refer to."""
    of = selection_of(detail)
    assert of is not None
    if detail.get("head") is not None:
        of["head"] = "all" if detail["head"]["head"] is None else detail["head"]["head"]
    if "src" in detail:
        of["heads"] = head_order(detail)
        of["start"] = _window(len(detail["input"]["ids"]), place_of(detail["dst"])[2])[0]
    elif detail["neurons"] is not None:
        of["neurons"] = detail["neurons"]["neuron"]
        of["experts"] = detail["neurons"]["expert"]
    return of


def edge_head(detail: Detail, session: Session) -> dict[str, Any]:
    """The head of the inspector for an edge."""
    tokens = session.tokens
    facts = [_fact("share", _number(detail["weight"]))]
    if key_of(detail) in session.weights:
        weight, influence = session.weights[key_of(detail)]
        facts += [_fact("weight", _number(weight)), _fact("influence", _percent(influence))]
    if detail["kind"] == "attention":
        facts.append(_fact("moved", _number(detail["moved"], 2)))
    return {
        "kicker": phrase(f"graph.selected_{detail['kind']}"),
        "from": place(detail["src"], tokens),
        "to": place(detail["dst"], tokens),
        "facts": facts,
        "measured": measured(detail["verification"]),
        "actions": edge_actions(detail),
        "note": phrase("graph.degenerate") if detail["degenerate"] else None,
    }


def node_head(detail: Detail, session: Session) -> dict[str, Any]:
    """The head of the inspector for a node."""
    facts = [_fact("length", _number(detail["length"], 2))]
    if detail["node"] in session.nodes:
        facts.insert(0, _fact("through", _percent(session.nodes[detail["node"]])))
    letter = place_of(detail["node"])[0]
    actions = [_action("verify")] if letter in "XMB" else []
    if letter in "AIM":
        actions.append(_action("root"))
    return {
        "kicker": phrase(f"graph.selected_node_{detail['kind']}"),
        "from": place(detail["node"], session.tokens),
        "to": None,
        "facts": facts,
        "measured": measured(detail["verification"]),
        "actions": actions,
        "note": None,
    }


def edge_actions(detail: Detail) -> list[dict[str, Any]]:
    """What can be done with an edge: knock it out, or one of its heads."""
    if detail["kind"] == "mixer":
        return []
    head = None if detail["head"] is None else detail["head"]["head"]
    return [_action("verify"), *([] if head is None else [_action("verify_head", head=head)])]


def _action(name: str, **values: Any) -> dict[str, Any]:
    return {"name": name, "label": phrase(f"graph.{name}", **values)}


def measured(found: Detail | None) -> dict[str, Any] | None:
    """What really changed when the part was knocked out."""
    if found is None:
        return None
    (part,) = found["parts"]
    before, vocab = found["original"], found["vocab"]
    named = {name: part["part"][name] for name in ("head", "neuron") if name in part["part"]}
    name = next(iter(named), "whole")
    logit = _change(_number(before["logit"], 2), _number(part["logit"], 2))
    rows = [
        ("logit", f"{logit} ({_signed(part['logit_change'], 3)})"),
        ("p", _change(_percent(before["p"]), _percent(part["p"]))),
        ("kl", phrase("graph.nats", value=_number(part["kl"]))),
        ("top", {"entry": vocab[str(part["top_id"])], "text": _percent(part["top_p"])}),
    ]
    return {
        "rows": [{"label": phrase(f"graph.measured_{key}"), "value": value} for key, value in rows],
        "text": phrase(f"graph.removed_{name}", **named),
    }


def _change(before: str, after: str) -> str:
    return f"{before} → {after}"


def _signed(value: float, digits: int) -> str:
    return f"{value:+.{digits}f}".replace("-", "−")


def head_order(detail: Detail) -> list[int]:
    """The heads, the largest contribution first."""
    shares = detail["contribution"]
    return sorted(range(len(shares)), key=lambda head: -abs(shares[head]))


def heads_bars(detail: Detail) -> dict[str, Any]:
    """Which heads carry an edge; the first row stands for all of them."""
    shares, order = detail["contribution"], head_order(detail)
    grouped = len(set(detail["kv_head"])) < len(shares)
    rows = [{"label": phrase("graph.all_heads"), "value": short(detail["weight"])}]
    for head in order:
        label = phrase("graph.head", head=head)
        if grouped:
            label = phrase("graph.head_kv", head=head, kv=detail["kv_head"][head])
        rows.append({"label": label, "value": short(shares[head])})
    chosen = detail["head"]["head"]
    return {
        "title": phrase("graph.which_heads"),
        "how": phrase("graph.which_heads_how"),
        "kind": "signed" if min(shares, default=0) < 0 else "share",
        "rows": rows,
        "high": max((row["value"] for row in rows), default=1) or 1,
        "format": "number",
        "chooses": True,
        "selected": 0 if chosen is None else 1 + order.index(chosen),
        "tone": "attention",
    }


def head_maps(detail: Detail, tokens: list[dict[str, Any]]) -> dict[str, Any]:
    """Where the chosen head looks, and what it contributes from there."""
    maps = detail["maps"]
    source, target = place_of(detail["src"])[2], place_of(detail["dst"])[2]
    start, end = _window(len(tokens), target)
    tables = [
        [
            short(row[start : start + at + 1], digits=3)
            for at, row in enumerate(maps[name][start:end])
        ]
        for name in ("pattern", "contribution")
    ]
    signed = any(value < 0 for row in tables[1] for value in row)
    high = max((abs(value) for row in tables[1] for value in row), default=0)
    head = maps["head"]
    name = "graph.maps_all" if head is None else "graph.maps"
    return {
        "title": phrase(name, **({} if head is None else {"head": head})),
        "how": phrase("graph.maps_how"),
        "tokens": tokens[start:end],
        "maps": [
            _map("pattern", "attention", 1.0, tables[0]),
            _map("contribution", "signed" if signed else "attention", high, tables[1]),
        ],
        "cell": [target - start, source - start] if source >= start else None,
        "note": phrase("graph.maps_cut", first=start, last=end - 1)
        if end - start < len(tokens)
        else None,
    }


def _window(length: int, target: int) -> tuple[int, int]:
    """The positions that a map shows: all, or those up to the target."""
    if length <= MAX_MAP:
        return 0, length
    end = max(target + 1, MAX_MAP)
    return end - MAX_MAP, end


def _map(name: str, scale: str, high: float, values: list[list[float]]) -> dict[str, Any]:
    label = phrase(f"graph.map_{name}")
    return {"label": label, "scale": scale, "high": high, "values": values}


def head_pushed(detail: Detail) -> dict[str, Any]:
    """The tokens that the chosen head raises and lowers by what it moves along the edge."""
    head = detail["head"]["head"]
    title = phrase("graph.pushed_all") if head is None else phrase("graph.pushed_head", head=head)
    return _pushed(detail["head"]["on_edge"], detail["vocab"], title)


def node_pushed(detail: Detail) -> dict[str, Any]:
    """The tokens that were raised and lowered since the state before, or by what is added."""
    letter = place_of(detail["node"])[0]
    added = letter in "MBSX"
    title = phrase("graph.pushed_added" if added else "graph.pushed_since")
    return _pushed(detail["pushed"], detail["vocab"], title)


def _pushed(found: Detail, vocab: Detail, title: dict[str, Any]) -> dict[str, Any]:
    def listed(name: str) -> list[dict[str, Any]]:
        ids, values = found[f"{name}_ids"], found[name]
        return [
            {"entry": vocab[str(token)], "value": short(value)}
            for token, value in zip(ids, values, strict=True)
        ]

    return {
        "title": title,
        "how": phrase("graph.pushed_how"),
        "promoted": listed("raised"),
        "suppressed": listed("lowered"),
        "unit": phrase("graph.unit_logit"),
    }


def state_table(detail: Detail, *, root: bool = False) -> dict[str, Any]:
    """The most likely tokens of a state, and how each stood in the state before."""
    top, vocab = detail["top"], detail["vocab"]
    changes = top.get("rank_change")
    columns = [
        column("token", "token", phone=True),
        column("p", "percent", phone=True),
        column("logit", "number", digits=2),
        column("rank", "rank"),
    ]
    rows = [
        [vocab[str(token)], short(top["p"][rank]), short(top["logit"][rank]), rank + 1]
        for rank, token in enumerate(top["ids"])
    ]
    if changes is not None:
        columns.append(column("since", "change", phone=True))
        columns[-1]["label"] = phrase("graph.column_since", before=stage(detail["predecessor"]))
        for row, change in zip(rows, changes, strict=True):
            row.append(change)
    title = phrase("graph.root_state" if root else "graph.state")
    how = phrase("graph.state_how" if detail["normalise"] else "graph.state_raw")
    return table(title, how, columns, rows, page=6 if root else PAGE)


def experts_bars(found: Detail) -> dict[str, Any]:
    """The experts that the token was sent to, and what each contributes."""
    pairs = zip(found["experts"], found["expert_contribution"], strict=True)
    rows = [
        {
            "label": phrase("graph.expert_shared")
            if expert < 0
            else phrase("graph.expert", expert=expert),
            "value": short(value),
        }
        for expert, value in pairs
    ]
    return {
        "title": phrase("graph.experts"),
        "how": phrase("graph.experts_how"),
        "kind": "share",
        "rows": rows,
        "high": max((row["value"] for row in rows), default=1) or 1,
        "format": "number",
    }


def neurons_table(detail: Detail, chosen: int | None = None) -> dict[str, Any]:
    """The neurons of an MLP with the largest contributions, and the tokens that they write."""
    found, vocab = detail["neurons"], detail["vocab"]
    experts = found["expert"]
    columns = [
        column("neuron", "text", phone=True),
        column("activation", "signed", digits=2),
        column("contribution", "number", digits=3, phone=True),
        column("writes", "token", phone=True),
    ]
    rows = []
    for index, neuron in enumerate(found["neuron"]):
        name: Any = str(neuron)
        if experts is not None:
            shared = experts[index] < 0
            key = "graph.neuron_shared" if shared else "graph.neuron_expert"
            name = phrase(key, neuron=neuron, expert=experts[index])
        pushed = found["pushed"]
        written = None if pushed is None else vocab[str(pushed["raised_ids"][index][0])]
        rows.append([
            name, short(found["activation"][index]), short(found["contribution"][index]), written,
        ])  # fmt: skip
    title = phrase("graph.neurons", n=len(rows), of=found["n_neurons"])
    how = phrase("graph.neurons_how")
    return table(title, how, columns, rows, selected=chosen, selectable=True)


def _fact(name: str, value: str) -> dict[str, Any]:
    return {"label": phrase(f"graph.fact_{name}"), "value": value}


def _number(value: float, digits: int = 3) -> str:
    return f"{value:.{digits}f}".replace("-", "−")


def _percent(value: float) -> str:
    if 0.999 < value < 1:
        return ">99.9%"
    if 0 < value < 0.001:
        return "<0.1%"
    return f"{100 * value:.1f}%".replace("-", "−")
