"""The arguments of a comparison of pairs, checked: a wrong one is named with what it can be."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lens_core.errors import InputError, NotExactError
from lens_core.lens.options import one_of, whole_number
from lens_core.models import LoadedModel

COMPONENTS = ("resid_post", "attn_out", "mlp_out")
READOUTS = ("last", "edit", "edit_last", "suffix", "prefix")
EMBED = -1
"""The layer of the embeddings, as they enter the first block."""
BATCH_TOKENS = {"cpu": 1024}
BATCH_TOKENS_ELSEWHERE = 16384
"""Tokens of a batch, padding included, unless the caller says otherwise."""

Site = tuple[str, int]
"""Component and layer; the embedding is ("resid_post", -1)."""


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
    max_tokens: int | None
    template: str | None
    special: str

    def to_json(self) -> dict[str, Any]:
        """What the result says of how it was made."""
        names = ("readout", "control", "halves", "lens", "q", "alpha", "correction")
        names += ("max_tokens", "template", "special")
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
    max_tokens: int | None,
    template: str | None,
    special: str,
) -> Options:
    """The arguments, with defaults filled in.

    Raises:
        InputError: an argument outside its range.
        NotExactError: a component that is not exact in this model.
    """
    return Options(
        sites=chosen_sites(loaded, layers, components),
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
        max_tokens=None if max_tokens is None else whole_number("max_tokens", max_tokens, 1, 2**31),
        template=template,
        special=special,
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

    Raises:
        InputError: an unknown component, or a layer that the model does not have.
        NotExactError: a component that is not exact in this model.
    """
    loaded.require("states")
    if isinstance(components, str) or not components:
        raise InputError(f"components is {components!r}; give a list of {', '.join(COMPONENTS)}.")
    for name in components:
        one_of("component", name, COMPONENTS)
    if set(components) - {"resid_post"}:
        loaded.require("streams")
    last = loaded.n_layers - 1
    wanted = range(EMBED, last + 1) if layers is None else layers
    found = sorted({whole_number("layer", layer, EMBED, last) for layer in wanted})
    sites = [
        (name, layer)
        for name in COMPONENTS
        if name in components
        for layer in found
        if layer != EMBED or name == "resid_post"
    ]
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
    """The name of a site in records: embed, layer_3 (of the stream), mlp_out_3."""
    component, layer = site
    if layer == EMBED:
        return "embed"
    return f"layer_{layer}" if component == "resid_post" else f"{component}_{layer}"


def _share(what: str, value: float, most: float) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < most:
        raise InputError(f"{what} is {value!r}; it must lie between 0 and {most}.")
    return float(value)
