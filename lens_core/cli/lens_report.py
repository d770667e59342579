"""The logit lens as text: what LogitLens4LLMs prints, from the JSON record of a result."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from typer import style

from lens_core.cli.record_text import error_size, per_cent, piece, text_of, token_of
from lens_core.cli.terminal import harmless, padded, wrapped

COMPONENTS = {"attn_out": "attention", "mlp_out": "MLP", "resid_mid": "middle", "embed": "embed"}
"""Words of the table for component names; block outputs are added last."""

CRITERIA = {
    "prob": "top-1 probability above {:g}",
    "kl_drop": "divergence from the final prediction falls by more than {:g} nats",
    "js": "divergence from the layer before above {:g} nats",
    "top1_change": "the top token changes",
    "target_enters_topk": "the followed token enters the top k",
}

_CELL = 12
"""Columns of one cell of the grid, seven to nine of which show the token."""


def lens_report(record: Mapping[str, Any], *, columns: int) -> Iterator[str]:
    """The lines of a report: every generated step, the last position, layers x last positions.

    Args:
        record: a `LogitLens` as JSON.
        columns: the width of the terminal.
    """
    model, readout = record["model"], record["self_check"]["readout_rel_err"]
    yield (
        f"{harmless(str(model['id']))}: {model['n_layers']} layers of {model['d_model']}, "
        f"{model['dtype']}, readout exact to {error_size(readout)}"
    )
    yield f"Prompt: {text_of(record, record['input']['n_prompt'], columns - 8)}"
    for warning in record["warnings"]:
        yield f"Note: {harmless(warning)}"
    for number, step in enumerate(record["steps"], 1):
        yield ""
        yield from _step(record, number, step, columns)
    if record["important_layers"] is not None:
        yield ""
        yield from _last(record, columns)
    yield ""
    yield from _grid(record, columns)


def _step(
    record: Mapping[str, Any], number: int, step: Mapping[str, Any], columns: int
) -> Iterator[str]:
    """One generated token, and how it came about."""
    name = token_of(record, step["id"])
    yield style(f'Step {number}: predicted token "{name}" ({per_cent(step["p"][-1])})', bold=True)
    yield f"Current text: {text_of(record, step['position'] + 2, columns - 14)}"
    yield from _important(record, step["important_layers"], columns)


def _last(record: Mapping[str, Any], columns: int) -> Iterator[str]:
    """What comes after the position that is followed, usually the last."""
    important = record["important_layers"]
    position = important["position"]
    title = f'Position {position}, after "{piece(record["input"]["tokens"][position])}"'
    if position in record["positions"]:
        place = record["positions"].index(position)
        token, p = record["final"]["ids"][place], record["final"]["p"][place]
        title += f': next token "{token_of(record, token)}" ({per_cent(p)})'
    yield style(title, bold=True)
    yield from _important(record, important, columns)


def _important(
    record: Mapping[str, Any], important: Mapping[str, Any], columns: int
) -> Iterator[str]:
    rule = CRITERIA[important["criterion"]].format(important["threshold"])
    if not important["layers"]:
        yield f"No important layers ({rule})."
        return
    yield f"Important layers ({rule}):"
    for found in important["layers"]:
        component = found["component"]
        by = "" if component == "resid_post" else f" by {COMPONENTS[component]}"
        lines = list(layer_lines(record, found["layer"], important["position"], columns))
        unread = "" if lines else " (not read)"
        yield f"Layer {found['layer']}: {_number(found['score'])}{by}{unread}"
        yield from lines


def layer_lines(
    record: Mapping[str, Any], layer: int, position: int, columns: int
) -> Iterator[str]:
    """The top tokens of every component that was read at one layer and position."""
    if position not in record["positions"]:
        return
    place = record["positions"].index(position)
    names = {**COMPONENTS, "resid_post": "block output"}
    names.pop("embed")
    for name, word in names.items():
        cells = record["cells"].get(name)
        if cells is not None and layer in cells["layers"]:
            row = cells["layers"].index(layer)
            yield from wrapped(entries(record, name, row, place), columns, head=f"  {word:13} ")


def entries(record: Mapping[str, Any], component: str, row: int, place: int) -> list[str]:
    """The top tokens of a cell: probabilities of a state, added logits of a part."""
    cells = record["cells"][component]
    ids = cells["top_ids"][row][place]
    if "top_p" in cells:
        values = [per_cent(p) for p in cells["top_p"][row][place]]
    else:
        values = [_signed(logit) for logit in cells["top_logit"][row][place]]
    if "top_delta_p" in cells:
        changes = (_signed(p, 100) for p in cells["top_delta_p"][row][place])
        values = [f"{v} ({change} %)" for v, change in zip(values, changes, strict=True)]
    return [f"{token_of(record, token)} {v}" for token, v in zip(ids, values, strict=True)]


def _grid(record: Mapping[str, Any], columns: int) -> Iterator[str]:
    """The most likely token of every layer at the last positions, with its per cent."""
    cells = record["cells"].get("resid_post")
    if cells is None:
        return
    shown = max(1, (columns - 8) // (_CELL + 1))
    places = range(len(record["positions"]))[-shown:]
    tokens = record["input"]["tokens"]
    heads = [piece(tokens[record["positions"][place]]) for place in places]
    yield style("Most likely next token after each layer, with its per cent", bold=True)
    yield _row("layer", [padded(head, _CELL) for head in heads])
    for row, layer in enumerate(cells["layers"]):
        found = []
        for place in places:
            token, p = cells["top_ids"][row][place][0], cells["top_p"][row][place][0]
            same = token == record["final"]["ids"][place]
            cell = grid_cell(token_of(record, token), p)
            found.append(style(cell, fg="green") if same else cell)
        yield _row(str(layer), found)
    embed = record["cells"].get("embed")
    if embed is not None:
        ids, probs = embed["top_ids"][0], embed["top_p"][0]
        yield _row("embed", [grid_cell(token_of(record, ids[p][0]), probs[p][0]) for p in places])
    if record["layers"]:
        settled = [record["settled"][place] for place in places]
        yield _row("settled", [padded(_settled(record, layer), _CELL) for layer in settled])


def grid_cell(token: str, p: float | None) -> str:
    """A token and its per cent, in exactly the columns of a cell."""
    share = "-" if p is None else f"{100 * p:.0f}"
    return f"{padded(token, _CELL - 1 - len(share))} {share}"


def _settled(record: Mapping[str, Any], layer: int) -> str:
    """The first layer read from which the top token stays the final one."""
    return "-" if layer > record["layers"][-1] else f"layer {layer}"


def _row(name: str, cells: Sequence[str]) -> str:
    return f"{name:>7}  {' '.join(cells)}".rstrip()


def _signed(value: float | None, factor: float = 1.0) -> str:
    return "-" if value is None else f"{factor * value:+.2f}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"
