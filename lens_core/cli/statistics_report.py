"""Statistics of the graph as a table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from typer import style

from lens_core.cli.record_text import per_cent
from lens_core.cli.terminal import harmless

if TYPE_CHECKING:
    from lens_core.tree import GraphStatistics

_REST = ("biases", "opaque mixers", "lost", "the first token")
_REASONS = 3
"""Prompts left out that are named one by one."""


def statistics_report(found: GraphStatistics, *, top: int) -> Iterator[str]:
    """The lines of a report: what was counted, then the heads and MLPs of most influence."""
    header, options = found.header, found.options
    yield (
        f"{harmless(str(header['model']['id']))}: {found.n_prompts} prompts of {found.n_tokens} "
        f"tokens together, root {_root(options['root'])}, metric {options['metric']}, "
        f"{options['threshold']['mode']} above {options['threshold']['tau']:g}"
    )
    for warning in header["warnings"]:
        yield f"Note: {harmless(warning)}"
    yield from _left_out(found)
    rest = zip(_REST, found.rest.mean.tolist(), strict=True)
    said = [f"{name} {per_cent(share)}" for name, share in rest if abs(share) > 0.0005]
    if said:
        yield f"Mean influence on the root: {', '.join(said)}"
    rows = found.component_list()
    if top:
        yield ""
        yield style("Heads and MLPs with most influence, 95 % intervals in brackets", bold=True)
        yield (
            f"{'':15}  {'prompts':>7}  {'active in':>24}  {'influence':>24}  {'when active':>11}"
            f"  {'weight':>6}"
        )
        yield from map(_line, rows[:top])
        if len(rows) > top:
            yield f"and {len(rows) - top} more; --top, --csv and --json show them"


def _left_out(found: GraphStatistics) -> Iterator[str]:
    for index, reason in found.skipped[:_REASONS]:
        yield f"Left out: prompt {index + 1}. {harmless(reason)}"
    if len(found.skipped) > _REASONS:
        yield f"Left out: {len(found.skipped) - _REASONS} more; --json names them"


def _root(root: Any) -> str:
    return ", ".join(map(str, root)) if isinstance(root, (list, tuple)) else str(root)


def _line(one: Mapping[str, Any]) -> str:
    name = f"layer {one['layer']} " + ("MLP" if one["head"] is None else f"head {one['head']}")
    weight = one["weight_active"]
    return (
        f"{name:15}  {one['active']:>7}  {_interval(one, 'frequency'):>24}  "
        f"{_interval(one, 'influence'):>24}  {per_cent(_known(one['influence_active'])):>11}  "
        f"{'-' if _known(weight) is None else f'{weight:.3f}':>6}"
    )


def _interval(one: Mapping[str, Any], name: str) -> str:
    """A share in per cent, with its interval where there is one."""
    shown = per_cent(one[name])
    low, high = _known(one[f"{name}_low"]), _known(one[f"{name}_high"])
    if low is None or high is None:
        return f"{shown}{'':13}"
    return f"{shown} [{100 * low:5.1f}, {100 * high:5.1f}]"


def _known(value: float) -> float | None:
    """None for a number that is none."""
    return value if value == value else None
