"""Finished windows of pairs on disk, so that a run that was stopped goes on where it was.

A window is a file named by all that its numbers depend on: the weights, the edits that hold, the
sites, the device, the number of threads, the versions, and the ids, positions and alignments of its
pairs. Another run takes it only where all of that is the same, so a result that was resumed is the
one of a whole run on this machine, bit for bit; the order of runs does not matter, and a file is
there whole or not at all.
"""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float

from lens_core.errors import InputError

if TYPE_CHECKING:
    from lens_core.difference.options import Site
    from lens_core.difference.reading import ReadyPair
    from lens_core.models import LoadedModel

FORMAT = 1
"""Another one where the files or the numbers in them change."""
_STATES, _ERROR, _METRIC = "states", "prefix_rel_err", "metric_"


@dataclass(frozen=True, eq=False)
class Window:
    """What running some pairs gave."""

    states: Float[np.ndarray, "pair side entry"]
    metrics: dict[str, Float[np.ndarray, "pair site"]]
    prefix_rel_err: float | None
    """The largest difference before an edit, relative to the state; None without a prefix."""


class WindowFolder:
    """The finished windows of runs of one kind."""

    def __init__(self, folder: Path, key: str) -> None:
        self._folder, self._key = folder, key

    @classmethod
    def of(
        cls, folder: Path, loaded: LoadedModel, sites: Sequence[Site], **how: Any
    ) -> WindowFolder:
        """The windows of this model as it is now, in a folder that is made where it is missing.

        Raises:
            InputError: no folder to write in.
        """
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(
                f"resume is {str(folder)!r}, which is no folder to write in: {error}."
            ) from error
        header = loaded.header("pair_windows")
        about = {name: header[name] for name in ("model", "software", "edit")}
        about |= {"format": FORMAT, "device": _device(loaded), "threads": torch.get_num_threads()}
        about |= {"sites": list(sites), "edits": loaded.active_edits}
        return cls(folder, json.dumps({**about, **how}, sort_keys=True))

    def read(self, ready: Sequence[ReadyPair]) -> Window | None:
        """The window of these pairs; None where it is not there, or its file is damaged."""
        path = self._path(ready)
        try:
            with np.load(path, allow_pickle=False) as file:
                found = {name: file[name] for name in file.files}
            os.utime(path)
        except (OSError, ValueError, EOFError, zipfile.BadZipFile):
            return None
        if not {_STATES, _ERROR} <= found.keys() or len(found[_STATES]) != len(ready):
            return None
        error = float(found.pop(_ERROR))
        return Window(
            states=found.pop(_STATES),
            metrics={name.removeprefix(_METRIC): rows for name, rows in found.items()},
            prefix_rel_err=None if np.isnan(error) else error,
        )

    def write(self, ready: Sequence[ReadyPair], window: Window) -> None:
        """Keep a window; one that cannot be written is run again another time."""
        error = float("nan") if window.prefix_rel_err is None else window.prefix_rel_err
        arrays: dict[str, Any] = {_METRIC + name: rows for name, rows in window.metrics.items()}
        arrays |= {_STATES: window.states, _ERROR: np.float64(error)}
        with NamedTemporaryFile(dir=self._folder, suffix=".part", delete=False) as file:
            try:
                np.savez(file, **arrays)
                Path(file.name).replace(self._path(ready))
            except OSError:
                Path(file.name).unlink(missing_ok=True)

    def _path(self, ready: Sequence[ReadyPair]) -> Path:
        pairs = [[*one.texts, *one.groups, one.alignment.prefix] for one in ready]
        name = sha256(f"{self._key}\n{json.dumps(pairs)}".encode()).hexdigest()
        return self._folder / f"{name}.npz"


def trim_windows(folder: Path, most_bytes: int) -> None:
    """Delete the windows that were used longest ago, until the rest takes no more than this."""
    known = []
    for path in folder.glob("*.npz"):
        with suppress(FileNotFoundError):  # another run may trim, too
            known.append((path.stat().st_mtime, path.stat().st_size, path))
    total = sum(size for _, size, _ in known)
    for _, size, path in sorted(known):
        if total <= most_bytes:
            return
        total -= size
        path.unlink(missing_ok=True)


def _device(loaded: LoadedModel) -> str:
    """The device by its kind, and a GPU by its name."""
    if loaded.device.type == "cuda":
        return torch.cuda.get_device_name(loaded.device)
    return loaded.device.type
