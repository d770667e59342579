"""Which dims hardly move: the test, its control, and every dim of one layer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from lens_core.bounds import LEAST_UNITS
from tabs.difference.layer_views import interval, p_text
from tabs.difference.parts import chart, column, short, site_name, table, view
from tabs.difference.session import Session
from tabs.words import phrase

if TYPE_CHECKING:
    from lens_core import PairDifference
    from lens_core.difference.result import FoundDim

SIGNS = {
    "rho": "ρ",
    "chance": "q",
    "dim": "{dim}",
    "mean_abs": "|Δ|",
    **dict.fromkeys(("hit_rate", "found", "few", "control", "unsupported", "uncontrolled"), ""),
    **dict.fromkeys(("index", "ascending", "descending"), ""),
}
"""What stands in the charts: a figure is drawn before the visitor's language is known."""
BINS = {"dims": "n", "bin": "{low} … {high}", "count": "n = {count}", "mean_abs": "|Δ|"}
LISTED = 50
MAP_DIMS = 100
"""Dims that the map of layers x dims shows, the same ones in every layer."""


def dimensions_stack(session: Session) -> dict[str, Any]:
    """What was found, and the dims of the chosen site."""
    found = session.shown
    if found is None:
        return {"views": [], "of": None}
    views = [view("said", "facts", verdict(session, found))]
    site = session.look.site
    if site in found.dims:
        views += [
            view("scatter_head", "heading", _scatter_head(found, site)),
            view("scatter", "chart", _scatter(found, site)),
        ]
    views.append(view("found", "table", found_table(found)))
    if site in found.dims:
        views += [
            view("profile_head", "heading", _profile_head(session)),
            view("profile", "chart", _profile(found, site, session.look.order)),
            view("histogram_head", "heading", _histogram_head(session)),
            view("histogram", "chart", _histogram(found, site)),
            view("map", "heatmap", dims_map(found, site)),
        ]
    return {"views": views, "of": None}


def verdict(session: Session, found: PairDifference) -> dict[str, Any]:
    """What may be concluded, with the control and the replication that say so."""
    assert session.compared is not None
    control, again = found.control, found.replication
    rows = [
        {"label": phrase("pairs.units"), "value": str(found.n_units)},
        {"label": phrase("pairs.found_dims"), "value": str(len(found.found))},
        {"label": phrase("pairs.control"), "value": _control(found)},
    ]
    if again is not None:
        value = phrase(
            "pairs.replicated_value",
            found=int(again.found.sum()),
            replicated=int(again.replicated.sum()),
        )
        rows.append({"label": phrase("pairs.replicated"), "value": value})
    if found is session.compared.found and session.compared.effect is not None:
        rows += effect_rows(session.compared.effect)
    state = "good" if control is not None and control.supported else "poor"
    if control is None:
        badge = None
    else:
        badge = {"state": state, "text": phrase(f"pairs.control_{control.supported}")}
    return {
        "title": phrase("pairs.hardly_move"),
        "rows": rows,
        "badge": badge,
        "buttons": _effect_button(found),
        "note": conclusion(found),
    }


def conclusion(found: PairDifference) -> dict[str, Any]:
    """The page's own words about what may be concluded."""
    control = found.control
    if found.n_units < LEAST_UNITS:
        return phrase("pairs.conclude_few", n=found.n_units)
    if control is None:
        return phrase("pairs.conclude_no_control")
    if not control.supported:
        return phrase("pairs.conclude_unsupported", share=f"{control.share:.1%}")
    if not found.found:
        return phrase("pairs.conclude_none")
    return phrase("pairs.conclude_found", n=len(found.found))


def _control(found: PairDifference) -> Any:
    if found.control is None:
        return phrase("pairs.control_none")
    count = int(found.control.found_per_site.sum())
    share = found.control.share
    return phrase(
        "pairs.control_value", n=count, share=f"{share:.2%}" if np.isfinite(share) else "–"
    )


def _effect_button(found: PairDifference) -> list[dict[str, Any]]:
    blocks = {site for site, layer in zip(found.sites, found.layers, strict=True) if layer >= 0}
    if not any(one.site in blocks and one.site.startswith("layer_") for one in found.found):
        return []
    return [{"name": "effect", "label": phrase("pairs.effect_button"), "entry": None}]


def effect_rows(effect: Any) -> list[dict[str, Any]]:
    """What holding the set at its mean does, beside random sets."""
    values = {
        "change": f"{effect.kl_change:+.3g}",
        "below": f"{effect.share_below:.0%}",
        "p": f"{effect.p_kl:.3g}",
    }
    said = phrase(f"pairs.set_matters_{effect.contributes}")
    return [
        {"label": phrase("pairs.set_effect", layer=effect.layer, n=len(effect.dims)),
         "value": phrase("pairs.set_effect_value", **values)},
        {"label": phrase("pairs.set_effect_said"), "value": said},
    ]  # fmt: skip


def _scatter_head(found: PairDifference, site: str) -> dict[str, Any]:
    count = sum(one.site == site for one in found.found)
    title = phrase("pairs.scatter", site=site_name(site), n=count)
    return {"title": title, "how": phrase("pairs.scatter_how")}


def _scatter(found: PairDifference, site: str) -> dict[str, Any]:
    from lens_core.figures import pair_dimensions

    figure = pair_dimensions(found, site, words=SIGNS, title="")
    return chart(figure, f"pairs-dims-{site}", phrase("pairs.scatter_summary"))


def _profile_head(session: Session) -> dict[str, Any]:
    title = phrase("pairs.profile", site=site_name(session.look.site))
    return {"title": title, "how": phrase(f"pairs.profile_how_{session.look.order}")}


def _profile(found: PairDifference, site: str, order: str) -> dict[str, Any]:
    from lens_core.figures import pair_profile

    figure = pair_profile(found, site, order=order, words=SIGNS, title="")
    return chart(figure, f"pairs-profile-{site}", phrase("pairs.profile_summary"))


def _histogram_head(session: Session) -> dict[str, Any]:
    title = phrase("pairs.histogram", site=site_name(session.look.site))
    return {"title": title, "how": phrase("pairs.histogram_how")}


def _histogram(found: PairDifference, site: str) -> dict[str, Any]:
    from lens_core.figures import pair_histogram

    figure = pair_histogram(found, site, words=BINS, title="")
    return chart(figure, f"pairs-histogram-{site}", phrase("pairs.histogram_summary"))


def found_table(found: PairDifference) -> dict[str, Any]:
    """The dims that change consistently little, the least responsive first."""
    columns = [
        column("site", "text", phone=True),
        column("dim", "rank", phone=True),
        column("hit_rate", "percent", digits=0, phone=True),
        column("rho", "number", digits=2),
        column("rho_interval", "text"),
        column("q", "text"),
        column("halves", "text"),
        column("mean1", "signed", digits=3),
        column("mean2", "signed", digits=3),
    ]
    listed = sorted(found.found, key=lambda one: (one.q, one.rho))
    rows = [_found_row(one) for one in listed[:LISTED]]
    return table(
        phrase("pairs.found"),
        phrase("pairs.found_how"),
        columns,
        rows,
        more=max(0, len(listed) - LISTED),
        empty=phrase("pairs.found_none"),
    )


def _found_row(one: FoundDim) -> list[Any]:
    halves = (one.hit_rate_a, one.hit_rate_b)
    said = None if None in halves else f"{one.hit_rate_a:.0%} | {one.hit_rate_b:.0%}"
    return [
        site_name(one.site),
        one.dim,
        short(one.hit_rate, 4),
        short(one.rho, 4),
        interval(one.rho_lo, one.rho_hi),
        p_text(one.q),
        said,
        short(one.mean1, 4),
        short(one.mean2, 4),
    ]


def dims_map(found: PairDifference, site: str) -> dict[str, Any]:
    """Mean |difference| of the same dims in every layer: those that move most and least here."""
    sites = [name for name in found.sites if name in found.dims]
    width = len(found.dims[site].mean_abs)
    same = [name for name in sites if len(found.dims[name].mean_abs) == width]
    chosen = chosen_dims(found, site)
    values = np.stack([found.dims[name].mean_abs[chosen] for name in same])
    names = [site_name(name) for name in same[::-1]]
    rows = [[short(float(v), 4) for v in row] for row in values[::-1]]
    known = values[np.isfinite(values)]
    return {
        "state": "done",
        "name": "pairs-dims-map",
        "title": phrase("pairs.dims_map", n=len(chosen)),
        "how": phrase("pairs.dims_map_how", site=site_name(site)),
        "card": "pairs.dims_map_card",
        "rows": [{"label": label, "title": label} for label in names],
        "columns": [{"label": str(dim), "title": str(dim)} for dim in chosen],
        "tokens": [[None] * len(chosen) for _ in names],
        "vocab": {},
        "quantities": [
            {
                "key": "mean_abs",
                "label": phrase("pairs.metric_mean_abs"),
                "title": phrase("pairs.metric_mean_abs"),
                "scale": "amount",
                "low": 0,
                "high": float(np.quantile(known, 0.98)) if known.size else 1.0,
                "format": "number",
                "values": rows,
            }
        ],
        "quantity": "mean_abs",
        "facts": [
            {
                "label": phrase("pairs.metric_mean_abs"),
                "unit": None,
                "format": "number",
                "quantity": "mean_abs",
            }
        ],
        "notes": [phrase("pairs.dims_map_note")],
        "earlier": 0,
        "later": 0,
        "files": ["png", "html"],
        "selected": None,
    }


def chosen_dims(found: PairDifference, site: str) -> list[int]:
    """Found dims of the site, then those that move least and most there, in the order of index."""
    values = found.dims[site].mean_abs
    width = min(MAP_DIMS, len(values))
    own = [one.dim for one in found.found if one.site == site][:width]
    order = np.argsort(values, kind="stable").tolist()
    ends = order[: width // 2] + order[::-1][: width - width // 2]
    dims = list(dict.fromkeys([*own, *ends]))[:width]
    return sorted(dims)
