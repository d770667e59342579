"""The arguments of a comparison of pairs, checked: a wrong one is named with what it can be."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lens_core.difference.running import require_positions
from lens_core.difference.sites import (
    COMPONENTS,
    EMBED,
    ENDS,
    FEATURE,
    UNTESTED,
    Site,
    has_site,
    missing,
)
from lens_core.errors import InputError, NotExactError
from lens_core.lens.options import one_of, whole_number
from lens_core.models import LoadedModel

READOUTS = ("last", "edit", "edit_last", "suffix", "prefix")
BATCH_TOKENS = {"cpu": 1024}
BATCH_TOKENS_ELSEWHERE = 16384
"""Tokens of a batch, padding included, unless the caller says otherwise."""


@dataclass(frozen=True)
class Options:
    """The arguments of `pair_difference`, checked."""

    sites: tuple[Site, ...]
    readout: str
    control: bool
    halves: bool
    lens: bool
    q: float
    alpha: float
    correction: str
    seed: int
    batch_tokens: int
    keep: Path | None
    resume: Path | None
    max_tokens: int | None
    template: str | None
    special: str
    same_positions: bool = False

    @property
    def tested(self) -> tuple[Site, ...]:
        """The sites that are tested by dim and kept; they come before the others."""
        return tuple(site for site in self.sites if site[0] not in UNTESTED)

    def to_json(self) -> dict[str, Any]:
        """What the result says of how it was made."""
        names = ("readout", "control", "halves", "lens", "q", "alpha", "correction")
        names += ("max_tokens", "template", "special", "same_positions")
        return {name: getattr(self, name) for name in names}


def checked_options(
    loaded: LoadedModel,
    *,
    layers: Sequence[int] | None,
    readout: str,
    components: Collection[str],
    control: bool,
    halves: bool,
    lens: bool,
    q: float,
    alpha: float,
    correction: str,
    seed: int,
    batch_tokens: int | None,
    keep: str | Path | None,
    resume: str | Path | None,
    max_tokens: int | None,
    template: str | None,
    special: str,
    same_positions: bool,
) -> Options:
    """The arguments, with defaults filled in.

    Raises:
        InputError: an argument outside its range.
        NotExactError: a component or positions that are not exact in this model.
    """
    sites = chosen_sites(loaded, layers, components)
    if same_positions:
        require_positions(loaded)
    if keep is not None and all(name in UNTESTED for name, _ in sites):
        raise InputError("keep is a folder for states, and logits are none; add a component.")
    return Options(
        sites=sites,
        readout=one_of("readout", readout, READOUTS),
        control=control,
        halves=halves,
        lens=lens,
        q=_share("q", q, 0.5),
        alpha=_share("alpha", alpha, 1.0),
        correction=one_of("correction", correction, ("bh", "by")),
        seed=whole_number("seed", seed, 0, 2**63 - 1),
        batch_tokens=tokens_at_once(loaded, batch_tokens),
        keep=None if keep is None else Path(keep),
        resume=None if resume is None else Path(resume),
        max_tokens=None if max_tokens is None else whole_number("max_tokens", max_tokens, 1, 2**31),
        template=template,
        special=special,
        same_positions=same_positions,
    )


def tokens_at_once(loaded: LoadedModel, batch_tokens: int | None) -> int:
    """Tokens of a batch, by the device where the caller does not say."""
    if batch_tokens is not None:
        return whole_number("batch_tokens", batch_tokens, 1, 2**31)
    return BATCH_TOKENS.get(loaded.device.type, BATCH_TOKENS_ELSEWHERE)


def chosen_sites(
    loaded: LoadedModel, layers: Sequence[int] | None, components: Collection[str]
) -> tuple[Site, ...]:
    """The sites to compare, by component and then from the first layer to the last.

    Layers that lack a component are left out where another of the chosen ones has it.

    Raises:
        InputError: an unknown component, or a layer that the model does not have.
        NotExactError: a component that is not exact in this model, or that it does not have.
    """
    loaded.require("states")
    if isinstance(components, str) or not components:
        raise InputError(f"components is {components!r}; give a list of {', '.join(COMPONENTS)}.")
    for name in components:
        loaded.require(FEATURE[one_of("component", name, COMPONENTS)])
    last = loaded.n_layers - 1
    wanted = range(EMBED, last + 1) if layers is None else layers
    found = sorted({whole_number("layer", layer, EMBED, last) for layer in wanted})
    sites: list[Site] = []
    for name in (name for name in COMPONENTS if name in components):
        places = [last] if name in ENDS else [at for at in found if at != EMBED]
        there = [(name, layer) for layer in places if has_site(loaded, (name, layer))]
        if places and not there:
            raise missing(loaded, name, places)
        embedding = [(name, EMBED)] if name == "resid_post" and EMBED in found else []
        sites += embedding + there
    if not sites:
        raise InputError(f"layers is {list(wanted)}; choose at least one from 0 to {last}.")
    return tuple(sites)


def require_lens(loaded: LoadedModel) -> str | None:
    """Why states cannot be read as predictions; None where they can."""
    try:
        loaded.require("readout")
    except NotExactError as error:
        return str(error)
    return None


def site_key(site: Site) -> str:
    """The name of a site in records: embed, layer_3 (of the stream), mlp_out_3, final_norm."""
    component, layer = site
    if component in ENDS:
        return component
    if layer == EMBED:
        return "embed"
    return f"layer_{layer}" if component == "resid_post" else f"{component}_{layer}"


def _share(what: str, value: float, most: float) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < most:
        raise InputError(f"{what} is {value!r}; it must lie between 0 and {most}.")
    return float(value)
