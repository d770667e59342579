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

from lens_core.difference.options import Site, site_key
from lens_core.errors import InputError
from lens_core.records import dumps, plain

STATES_FILE = "acts.f16.npy"
INDEX_FILE = "acts.json"
SCHEMA = "lens_core/pair_states/1"
_LARGEST = 32768.0
"""Kept states stay below it, which float16 holds."""
_PAIRS = 64


class StateFile:
    """States [pair, side, site, d_model] on disk."""

    def __init__(self, path: Path, file: BinaryIO, n_sites: int, d_model: int) -> None:
        self._path, self._file = path, file
        self._shape = (2, n_sites, d_model)
        self.n_pairs = 0

    def append(self, states: Float[np.ndarray, "pair side site d_model"]) -> None:
        """Write more pairs behind those that are there."""
        assert states.shape[1:] == self._shape, states.shape
        states.astype(np.float32).tofile(self._file)
        self.n_pairs += len(states)

    def site(self, index: int) -> Float[np.ndarray, "pair side d_model"]:
        """All pairs at one site, read where it is indexed."""
        return self.whole()[:, :, index]

    def whole(self) -> Float[np.ndarray, "pair side site d_model"]:
        """All that was written, read where it is indexed."""
        self._file.flush()
        return np.memmap(self._path, np.float32, "r", shape=(self.n_pairs, *self._shape))


@contextmanager
def state_file(n_sites: int, d_model: int) -> Iterator[StateFile]:
    """An empty file that is gone after the block."""
    with TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        path = Path(folder) / "states.f32"
        with path.open("wb") as file:
            yield StateFile(path, file, n_sites, d_model)


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
        ) from (error)
    return folder


def keep_states(
    states: StateFile,
    folder: Path,
    sites: Sequence[Site],
    *,
    index: Mapping[str, Any],
) -> None:
    """Write acts.f16.npy [pair, side, site, d_model] and acts.json, which says what is in it.

    State = stored number times the scale of its site, a power of two; 1 unless float16 is too
    small for it.
    """
    whole = states.whole()
    largest = np.zeros(len(sites))
    for start in range(0, states.n_pairs, _PAIRS):
        some = np.abs(whole[start : start + _PAIRS]).max((0, 1, 3), initial=0.0)
        largest = np.maximum(largest, some)
    scale = 2.0 ** np.ceil(np.log2(np.maximum(largest / _LARGEST, 1.0)))
    shape = whole.shape
    out = np.lib.format.open_memmap(folder / STATES_FILE, "w+", np.float16, shape)
    for start in range(0, states.n_pairs, _PAIRS):
        some = slice(start, start + _PAIRS)
        out[some] = (whole[some] / scale[:, None]).astype(np.float16)
    out.flush()
    record = {
        "schema": SCHEMA,
        "axes": ["pair", "side", "site", "d_model"],
        "shape": list(shape),
        "sites": [site_key(site) for site in sites],
        "scale": scale.tolist(),
        **index,
    }
    (folder / INDEX_FILE).write_text(dumps(plain(record), indent=1), encoding="utf-8")


def read_kept(folder: str | Path) -> tuple[np.ndarray, dict[str, Any]]:
    """What `keep` wrote: the stored numbers, read where they are indexed, and the index.

    Raises:
        InputError: the folder holds no kept states.
    """
    try:
        index = json.loads((Path(folder) / INDEX_FILE).read_text(encoding="utf-8"))
        stored = np.load(Path(folder) / STATES_FILE, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise InputError(f"{str(folder)!r} holds no kept states: {error}.") from error
    if index.get("schema") != SCHEMA:
        raise InputError(f"The index's schema is {index.get('schema')!r}; it should be {SCHEMA!r}.")
    return stored, index
