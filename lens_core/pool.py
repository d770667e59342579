"""The models that a process keeps in memory: each loaded once, the least recently used let go."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple

from lens_core.errors import InputError, ModelError
from lens_core.loading import estimate_bytes, load_model
from lens_core.weights import model_bytes

if TYPE_CHECKING:
    from lens_core.models import LoadedModel


class PoolKey(NamedTuple):
    """What tells two models in the pool apart: the arguments they were loaded with."""

    name: str
    revision: str | None = None
    dtype: str | None = None
    quantization: str | None = None
    device: str | None = None


@dataclass(eq=False)
class _Slot:
    """One model, perhaps still loading. Left as a context manager it settles what waiters get."""

    loaded: Future[LoadedModel] = field(default_factory=Future)
    users: int = 0
    last_used: float = 0.0
    size: int = 0
    """Bytes; while the model loads, the estimate."""

    def __enter__(self) -> _Slot:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if isinstance(error, Exception):
            self.loaded.set_exception(error)
        elif error is not None:  # Ctrl+C in the thread that loads is not for those who wait
            self.loaded.set_exception(ModelError("Loading was interrupted; try again."))


class ModelPool:
    """Loaded models up to a number of bytes, shared by all threads.

    Ask for a model with `lease` and it stays as long as the block runs; `get` returns it without
    that promise, which only means that the pool may load it anew the next time. A model larger than
    the pool is loaded nevertheless, and stays alone in it until another is wanted.
    """

    def __init__(
        self,
        max_bytes: int,
        loader: Callable[..., LoadedModel] = load_model,
        estimate: Callable[..., int | None] | None = None,
    ) -> None:
        """Keep models up to `max_bytes`.

        Args:
            max_bytes: the sum of all models, in bytes.
            loader: called with the name and the other parts of `PoolKey` as keywords.
            estimate: the bytes a model will take up, called likewise, so that room is made before
                it loads. By default `estimate_bytes` for `load_model`, nothing for other loaders.

        Raises:
            InputError: `max_bytes` is not positive.
        """
        if max_bytes <= 0:
            raise InputError(f"max_bytes is {max_bytes}; a pool needs at least 1 byte.")
        self.max_bytes = max_bytes
        self._loader = loader
        self._estimate = estimate or (estimate_bytes if loader is load_model else _unknown)
        self._slots: dict[PoolKey, _Slot] = {}
        self._lock = threading.Lock()

    def get(self, name: str, **options: str | None) -> LoadedModel:
        """The model, loaded if it was not.

        Args:
            name: as for `load_model`.
            options: `revision`, `dtype`, `quantization`, `device`, as for `load_model`.

        Raises:
            ModelError: it cannot be loaded; the next call tries again.
        """
        with self.lease(name, **options) as loaded:
            return loaded

    @contextmanager
    def lease(self, name: str, **options: str | None) -> Iterator[LoadedModel]:
        """Hold the model in the pool while the block runs; other arguments and errors as `get`."""
        key = PoolKey(name, **options)
        with self._lock:
            first = key not in self._slots
            slot = self._slots.setdefault(key, _Slot())
            slot.users += 1
        try:
            if first:
                self._load(key, slot)
            yield slot.loaded.result()
        finally:
            with self._lock:
                slot.users -= 1
                slot.last_used = time.monotonic()
                dropped = self._idle_beyond(self.max_bytes, keep=slot)
            _free(dropped)

    def models(self) -> list[dict[str, Any]]:
        """The loaded models, most recently used first: `PoolKey`, `bytes`, `users`."""
        with self._lock:
            slots = [(key, slot) for key, slot in self._slots.items() if slot.loaded.done()]
        slots.sort(key=lambda item: item[1].last_used, reverse=True)
        return [{**key._asdict(), "bytes": slot.size, "users": slot.users} for key, slot in slots]

    def clear(self) -> None:
        """Let go of every model that nobody holds."""
        with self._lock:
            dropped = self._idle_beyond(-1)
        _free(dropped)

    def _load(self, key: PoolKey, slot: _Slot) -> None:
        """Load without the pool's lock, so that different models load side by side."""
        options = key._asdict()
        name = options.pop("name")
        loaded = None
        with slot:
            try:
                slot.size = self._estimate(name, **options) or 0
                with self._lock:
                    dropped = self._idle_beyond(self.max_bytes)
                _free(dropped)
                loaded = self._loader(name, **options)
            finally:
                if loaded is None:  # before those who wait hear of it: their next call tries again
                    with self._lock:
                        del self._slots[key]
            assert loaded is not None
            slot.size = model_bytes(loaded.model)
            slot.loaded.set_result(loaded)

    def _idle_beyond(self, max_bytes: int, keep: _Slot | None = None) -> list[_Slot]:
        """Take the least recently used idle models out until the rest fits; call with the lock."""
        dropped = []
        idle = [key for key, slot in self._slots.items() if not slot.users and slot is not keep]
        for key in sorted(idle, key=lambda key: self._slots[key].last_used):
            if sum(slot.size for slot in self._slots.values()) <= max_bytes:
                break
            dropped.append(self._slots.pop(key))
        return dropped


def _unknown(name: str, **options: str | None) -> None:
    """The estimate where there is none."""


def _free(dropped: list[_Slot]) -> None:
    """Give the memory of dropped models back now; a model and its hooks refer to each other."""
    if not dropped:
        return
    import torch

    dropped.clear()
    gc.collect()
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()
