"""Results of expensive work, held while there is room for them."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from operator import attrgetter
from typing import Generic, TypeVar

T = TypeVar("T")


class Held(Generic[T]):
    """Values by key up to a number of bytes; what was not asked for longest goes first.

    Threads may share it. A value larger than the whole budget is not kept, so `get` never promises
    anything: whoever asks must be able to make the value again.
    """

    def __init__(self, max_bytes: int, size: Callable[[T], int] = attrgetter("nbytes")) -> None:
        self.max_bytes = max_bytes
        self._size = size
        self._values: OrderedDict[Hashable, tuple[T, int]] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def nbytes(self) -> int:
        """Bytes of all that is held."""
        with self._lock:
            return self._sum()

    def get(self, key: Hashable) -> T | None:
        """What is held under a key, which counts as used now; None if nothing is."""
        with self._lock:
            if key not in self._values:
                return None
            self._values.move_to_end(key)
            return self._values[key][0]

    def put(self, key: Hashable, value: T) -> None:
        """Hold a value in place of what was held under the key."""
        size = self._size(value)
        with self._lock:
            self._values.pop(key, None)
            if size > self.max_bytes:
                return
            self._values[key] = (value, size)
            while self._sum() > self.max_bytes:
                self._values.popitem(last=False)

    def clear(self) -> None:
        """Let everything go."""
        with self._lock:
            self._values.clear()

    def _sum(self) -> int:
        return sum(size for _, size in self._values.values())
