"""Minimal pairs, and comparisons of them, as lines for a terminal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from typer import style

from lens_core.cli.terminal import harmless, padded, width

if TYPE_CHECKING:
    from lens_core.pairs import Alignment, Pair, Problem

MOST = 20
"""Bad rows and left out pairs that are named."""
_COLUMNS = ("site", "rel_l2", "95 % interval", "1 - cos", "JS lens", "recovery", "found", "control")


def category_report(lang: str) -> Iterator[str]:
    """The categories that templates exist for, with how many pairs they give in a language."""
    from lens_core.pairs import known_categories
    from lens_core.pairs.templates import capacity, note

    known = known_categories()
    room = max(map(len, known))
    yield style(f"Categories, and how many pairs the templates give ({lang})", bold=True)
    for name, about in known.items():
        yield f"  {name:<{room}}  {capacity(name, lang):>4}  {about.type}: {about.description}"
        if said := note(name, lang):
            yield f"  {'':<{room}}        {lang}: {said}"


def problem_report(problems: Sequence[Problem]) -> Iterator[str]:
    """What became no pair, by its place."""
    if problems:
        yield f"{len(problems)} rows are no pairs, and were left out:"
    for problem in problems[:MOST]:
        yield f"  {harmless(str(problem))}"
    if len(problems) > MOST:
        yield f"  and {len(problems) - MOST} more"


def made_report(pairs: Sequence[Pair]) -> Iterator[str]:
    """How many pairs there are of every category, with the first of each."""
    counts = Counter((pair.type, pair.subtype) for pair in pairs)
    first = {(pair.type, pair.subtype): pair for pair in reversed(pairs)}
    yield style(f"{len(pairs)} pairs", bold=True)
    for (kind, subtype), count in counts.items():
        pair = first[kind, subtype]
        yield f"  {count:>4}  {harmless(kind)} / {harmless(subtype)}"
        yield f"        {harmless(pair.sentence1)}"
        yield f"        {harmless(pair.sentence2)}"


def alignment_lines(aligned: Sequence[Alignment | str], head: str) -> Iterator[str]:
    """How many pairs align, and how; and the first that do not."""
    known = [one for one in aligned if not isinstance(one, str)]
    refused = [one for one in aligned if isinstance(one, str)]
    shapes = [(one.shift, [[list(a), list(b)] for a, b in one.edits], one.flags) for one in known]
    yield from _alignment(shapes, len(aligned), head)
    if refused:
        yield f"  {len(refused)} cannot be read; the first: {harmless(refused[0])}"


def _alignment(
    shapes: Sequence[tuple[int, Sequence[Any], Sequence[str]]], total: int, head: str
) -> Iterator[str]:
    """Shift, edits and flags of every pair, counted."""
    equal = sum(shift == 0 for shift, _, _ in shapes)
    one_token = sum(
        len(edits) == 1 and all(end - start == 1 for start, end in edits[0])
        for _, edits, _ in shapes
    )
    yield (
        f"{head}: {len(shapes)} of {total} pairs aligned; {equal} of equal length ({one_token} "
        f"differ in one token), {len(shapes) - equal} shifted"
    )
    flags = Counter(flag for _, _, found in shapes for flag in found)
    words = {
        "widened": "widened to whole words",
        "several_edits": "with several edits",
        "at_end": "with nothing behind the edit",
        "identical": "identical",
    }
    said = [f"{flags[flag]} {word}" for flag, word in words.items() if flags[flag]]
    if said:
        yield f"  {', '.join(said)}"


def difference_report(
    record: Mapping[str, Any], *, top_n: int, effects: Sequence[Mapping[str, Any]] | None = None
) -> Iterator[str]:
    """The JSON record of a comparison as lines; with what holding found dims at their mean does."""
    asked = record["input"]
    yield style(
        f"{asked['n_compared']} of {asked['n_pairs']} pairs compared, {record['units']} units "
        f"(distinct edits), read at: {record['readout']}",
        bold=True,
    )
    yield from _aligned_pairs(record)
    for warning in record["warnings"]:
        if warning != record["verdict"]:
            yield f"Note: {harmless(warning)}"
    yield ""
    yield from _layer_table(record)
    yield from _types(record)
    yield from _found(record, top_n)
    yield from _replication(record)
    yield f"Verdict: {record['verdict']}"
    if effects is not None:
        yield from effect_lines(effects)


def _aligned_pairs(record: Mapping[str, Any]) -> Iterator[str]:
    known, left_out = record["pairs"], record["left_out"]
    found = [one["alignment"] for one in known]
    aligned = [(one["shift"], one["edits"], one["flags"]) for one in found]
    yield from _alignment(aligned, len(known) + len(left_out), "Alignment")
    for one in left_out[:MOST]:
        yield f"  left out, pair {one['index']}: {harmless(one['reason'])}"
    if len(left_out) > MOST:
        yield f"  and {len(left_out) - MOST} more"
    error = record["prefix_rel_err"]
    if error is not None:
        yield f"  Right before the edit the sides differ by {error:.0e} (0 by causality)."


def _layer_table(record: Mapping[str, Any]) -> Iterator[str]:
    """A row for every site: means over units of all pairs."""
    every = next((one for one in record["groups"] if one["type"] is None), None)
    if every is None:
        return
    metrics = every["metrics"]
    in_control = [] if record["control"] is None else record["control"]["found_per_site"]
    rows: list[tuple[str, ...]] = [_COLUMNS]
    for at, site in enumerate(record["sites"]):
        spread = metrics["rel_l2"]
        dims = record["dims"].get(site)
        means = (metrics[name]["mean"][at] for name in ("cos_dist", "js_lens", "recovery"))
        rows.append(
            (
                site,
                _number(spread["mean"][at]),
                _interval(spread["lo"][at], spread["hi"][at]),
                *map(_number, means),
                "-" if dims is None else str(len(dims["found"])),
                str(in_control[at]) if dims is not None and at < len(in_control) else "-",
            )
        )
    yield from in_columns(rows)
    test = record["layer_test"]
    smaller = [
        f"{site} (p {p:.1g})"
        for site, p in zip(record["sites"], test["p_holm"], strict=True)
        if p is not None and p <= 0.05
    ]
    if smaller:
        yield f"Smaller than the layers beside it: {', '.join(smaller)}"


def _types(record: Mapping[str, Any]) -> Iterator[str]:
    """Every group at the end of the stream, and which types differ somewhere."""
    stream = [at for at, name in enumerate(record["components"]) if name == "resid_post"]
    last = stream[-1] if stream else -1
    groups = [one for one in record["groups"] if one["type"] is not None]
    groups.sort(key=lambda one: (one["type"], one["subtype"] or ""))
    if groups:
        yield f"By type, rel_l2 at {record['sites'][last]}:"
    rows = []
    for one in groups:
        spread = one["metrics"]["rel_l2"]
        name = one["type"] if one["subtype"] is None else f"  {one['subtype']}"
        counted = f"{one['n_pairs']} pairs, {one['n_units']} units"
        interval = _interval(spread["lo"][last], spread["hi"][last])
        rows.append((harmless(name), _number(spread["mean"][last]), interval, counted))
    yield from in_columns(rows)
    for one in record["comparisons"]:
        known = [p for p in one["p_holm"] if p is not None]
        if known and min(known) <= 0.05:
            site = record["sites"][one["p_holm"].index(min(known))]
            pair = " and ".join(map(harmless, one["types"]))
            yield f"  {pair} differ, most clearly at {site} (p {min(known):.1g})"


def _found(record: Mapping[str, Any], top_n: int) -> Iterator[str]:
    found = sorted(record["found"], key=lambda one: (one["q"], one["p"]))
    if not found:
        return
    yield f"Dims that change consistently little: {len(found)}"
    rows = [("site", "dim", "hit rate", "rho", "95 % interval", "q", "in halves")]
    for one in found[:top_n]:
        halves = [one["hit_rate_a"], one["hit_rate_b"]]
        rows.append(
            (
                one["site"],
                str(one["dim"]),
                f"{one['hit_rate']:.0%}",
                _number(one["rho"]),
                _interval(one["rho_lo"], one["rho_hi"]),
                _number(one["q"], ".1g"),
                " ".join("-" if half is None else f"{half:.0%}" for half in halves),
            )
        )
    yield from in_columns(rows)
    if len(found) > top_n:
        yield f"  and {len(found) - top_n} more in the JSON"


def _replication(record: Mapping[str, Any]) -> Iterator[str]:
    control, halves = record["control"], record["replication"]
    if control is not None:
        found = sum(control["found_per_site"])
        share = "" if control["share"] is None else f", {control['share']:.2%} of them"
        yield f"Negative control (mismatched pairs): {found} dims{share}"
    if halves is not None:
        yield (
            f"Half of the units finds {sum(halves['found'])} dims; the other half confirms "
            f"{sum(halves['replicated'])}."
        )


def effect_lines(effects: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """What holding the dims found in each layer at their mean does to the prediction."""
    if not effects:
        yield "Set effect: no dims of a block's output were found, so there is no set to hold."
    for one in effects:
        said = "may be said to contribute" if one["contributes"] else "cannot be said to contribute"
        yield (
            f"Set effect, layer {one['layer']}, {len(one['dims'])} dims held at their mean: KL "
            f"{one['kl_before']:.3g} changes by {one['kl_change']:+.3g} nats, more than in "
            f"{one['share_below']:.0%} of {len(one['random_kl_change'])} random sets (p "
            f"{one['p_kl']:.2g}): they {said} to error correction."
        )


def in_columns(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Rows in columns as wide as they need."""
    widths = [max(width(row[i]) for row in rows) for i in range(len(rows[0]))] if rows else []
    for row in rows:
        cells = [padded(cell, size) for cell, size in zip(row, widths, strict=True)]
        yield "  " + "  ".join(cells).rstrip()


def _number(value: float | None, form: str = ".3g") -> str:
    return "-" if value is None else f"{value:{form}}"


def _interval(low: float | None, high: float | None) -> str:
    return "" if low is None or high is None else f"{low:.3g} to {high:.3g}"
