"""Both sides of all pairs at all sites, in a file: written once in order, read site by site.

The working file lies in a temporary folder for the time of the run and holds float32: small
differences of large states are what is looked for, and in float16 they would be the rounding of
the states (the models would otherwise have to run twice, once for the scales and once for the
ranks). What a user keeps is float16, a quarter of a float64 and half of this file.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, BinaryIO

import numpy as np
from jaxtyping import Float

from lens_core.difference.options import site_key
from lens_core.difference.sites import Layout, Site
from lens_core.errors import InputError
from lens_core.records import dumps, plain

STATES_FILE = "acts.f16.npy"
INDEX_FILE = "acts.json"
SCHEMA = "lens_core/pair_states/1"
"""All sites have one width."""
SCHEMA_OF_WIDTHS = "lens_core/pair_states/2"
"""Sites of several widths lie behind one another."""
_LARGEST = 32768.0
"""Kept states stay below it, which float16 holds."""
_PAIRS = 64


class StateFile:
    """States [pair, side, entry] on disk, the sites of a layout behind one another."""

    def __init__(self, path: Path, file: BinaryIO, layout: Layout) -> None:
        self._path, self._file = path, file
        self.layout = layout
        self.n_pairs = 0

    def append(self, states: Float[np.ndarray, "pair side entry"]) -> None:
        """Write more pairs behind those that are there."""
        assert states.shape[1:] == (2, self.layout.total), states.shape
        states.astype(np.float32).tofile(self._file)
        self.n_pairs += len(states)

    def site(self, index: int) -> Float[np.ndarray, "pair side width"]:
        """All pairs at one site, read where it is indexed."""
        return self.whole()[:, :, self.layout.part(index)]

    def whole(self) -> Float[np.ndarray, "pair side entry"]:
        """All that was written, read where it is indexed."""
        self._file.flush()
        shape = (self.n_pairs, 2, self.layout.total)
        return np.memmap(self._path, np.float32, "r", shape=shape)


@contextmanager
def state_file(layout: Layout) -> Iterator[StateFile]:
    """An empty file that is gone after the block."""
    with TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        path = Path(folder) / "states.f32"
        with path.open("wb") as file:
            yield StateFile(path, file, layout)


def checked_folder(folder: Path) -> Path:
    """The folder to keep states in, made where it is missing.

    Raises:
        InputError: it cannot be made, or is a file.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"keep is {str(folder)!r}, which is no folder to write in: {error}."
        ) from error
    return folder


def keep_states(
    states: StateFile,
    folder: Path,
    sites: Sequence[Site],
    *,
    index: Mapping[str, Any],
) -> None:
    """Write acts.f16.npy and acts.json, which says what is in it.

    Sites of one width are [pair, side, site, d_model], schema pair_states/1. Sites of several
    widths are [pair, side, entry], schema pair_states/2: site i is the entries from offsets[i] to
    offsets[i] + widths[i]. Either way, state = stored number times the scale of its site, a power
    of two; 1 unless float16 is too small for it.
    """
    whole, layout = states.whole(), states.layout
    largest = np.zeros(layout.total)
    for start in range(0, states.n_pairs, _PAIRS):
        some = np.abs(whole[start : start + _PAIRS]).max((0, 1), initial=0.0)
        largest = np.maximum(largest, some)
    by_site = np.maximum.reduceat(largest, layout.offsets[:-1])
    scale = 2.0 ** np.ceil(np.log2(np.maximum(by_site / _LARGEST, 1.0)))
    by_entry = np.repeat(scale, layout.widths)
    form = _form(layout, states.n_pairs)
    out = np.lib.format.open_memmap(folder / STATES_FILE, "w+", np.float16, tuple(form["shape"]))
    for start in range(0, states.n_pairs, _PAIRS):
        some = slice(start, start + _PAIRS)
        rows = (whole[some] / by_entry).astype(np.float16)
        out[some] = rows.reshape(len(rows), *form["shape"][1:])
    out.flush()
    names = {"sites": [site_key(site) for site in sites], "scale": scale.tolist()}
    record = {**form, **names, **index}
    (folder / INDEX_FILE).write_text(dumps(plain(record), indent=1), encoding="utf-8")


def _form(layout: Layout, n_pairs: int) -> dict[str, Any]:
    """How the numbers lie in the file."""
    if layout.width is not None:
        shape = [n_pairs, 2, len(layout.widths), layout.width]
        return {"schema": SCHEMA, "axes": ["pair", "side", "site", "d_model"], "shape": shape}
    return {
        "schema": SCHEMA_OF_WIDTHS,
        "axes": ["pair", "side", "entry"],
        "shape": [n_pairs, 2, layout.total],
        "widths": list(layout.widths),
        "offsets": list(layout.offsets[:-1]),
    }


def first_sites(
    stored: np.ndarray, index: Mapping[str, Any]
) -> Float[np.ndarray, "pair side site d_model"]:
    """What `read_kept` answers, as far as all sites have the width of the first one.

    The stream comes first, so its sites are always among them; site i is that of the index.
    """
    if index["schema"] == SCHEMA:
        return stored
    widths = index["widths"]
    count = next((at for at, one in enumerate(widths) if one != widths[0]), len(widths))
    return stored[:, :, : count * widths[0]].reshape(*stored.shape[:2], count, widths[0])


def kept_site(
    stored: np.ndarray, index: Mapping[str, Any], name: str
) -> Float[np.ndarray, "pair side width"]:
    """One site of what `read_kept` answers, in its own units, by its name.

    Raises:
        InputError: it was not kept.
    """
    if name not in index["sites"]:
        raise InputError(f"site is {name!r}; kept are {', '.join(index['sites'])}.")
    at = index["sites"].index(name)
    if index["schema"] == SCHEMA:
        found = stored[:, :, at]
    else:
        start = index["offsets"][at]
        found = stored[:, :, start : start + index["widths"][at]]
    return found.astype(np.float32) * np.float32(index["scale"][at])


def read_kept(folder: str | Path) -> tuple[np.ndarray, dict[str, Any]]:
    """What `keep` wrote: the stored numbers, read where they are indexed, and the index.

    The axes are [pair, side, site, d_model], or [pair, side, entry] where the sites have several
    widths; the index says which, see `keep_states`. `kept_site` reads either.

    Raises:
        InputError: the folder holds no kept states.
    """
    try:
        index = json.loads((Path(folder) / INDEX_FILE).read_text(encoding="utf-8"))
        stored = np.load(Path(folder) / STATES_FILE, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise InputError(f"{str(folder)!r} holds no kept states: {error}.") from error
    if index.get("schema") not in (SCHEMA, SCHEMA_OF_WIDTHS):
        raise InputError(
            f"The index's schema is {index.get('schema')!r}; it should be {SCHEMA!r} or "
            f"{SCHEMA_OF_WIDTHS!r}."
        )
    return stored, index
