"""The pool: one load a model however many ask, and only idle models are let go."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import pytest
from torch import nn

from lens_core.errors import InputError, ModelError
from lens_core.pool import ModelPool

SIZE = 400  # bytes of a Linear(10, 10) without bias


class Loader:
    """Counts its calls; every model has SIZE bytes times the number at the end of its name."""

    def __init__(self, delay: float = 0.0) -> None:
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.delay = delay
        self.failing: set[str] = set()
        self.running = 0
        self.most_running = 0

    def __call__(self, name: str, **options: Any) -> Any:
        self.calls.append((name, options))
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        time.sleep(self.delay)
        self.running -= 1
        if name in self.failing:
            raise ModelError(f"{name} is damaged")
        return SimpleNamespace(model=nn.Linear(10, 10 * int(name[-1]), bias=False))

    @property
    def names(self) -> list[str]:
        return [name for name, _ in self.calls]


def held(pool: ModelPool) -> set[str]:
    return {row["name"] for row in pool.models()}


def test_many_threads_share_one_load() -> None:
    pool = ModelPool(10 * SIZE, loader := Loader(delay=0.05))
    with ThreadPoolExecutor(8) as threads:
        models = list(threads.map(lambda _: pool.get("a1"), range(16)))
    assert len(loader.calls) == 1
    assert len({id(model) for model in models}) == 1


def test_different_models_load_side_by_side() -> None:
    pool = ModelPool(10 * SIZE, loader := Loader(delay=0.1))
    with ThreadPoolExecutor(2) as threads:
        list(threads.map(pool.get, ["a1", "b1"]))
    assert loader.most_running == 2


def test_arguments_tell_models_apart() -> None:
    pool = ModelPool(10 * SIZE, loader := Loader())
    first = pool.get("a1", dtype="float32")
    assert pool.get("a1", dtype="float32") is first
    assert pool.get("a1", dtype="bfloat16") is not first
    nothing = {"revision": None, "quantization": None, "device": None}
    assert loader.calls[1] == ("a1", {**nothing, "dtype": "bfloat16"})


def test_least_recently_used_goes_first() -> None:
    pool = ModelPool(3 * SIZE, loader := Loader())
    for name in ("a1", "b1", "c1", "a1", "d1"):
        pool.get(name)
    assert held(pool) == {"a1", "c1", "d1"}
    pool.get("b1")
    assert loader.names.count("b1") == 2
    assert [row["name"] for row in pool.models()] == ["b1", "d1", "a1"]
    assert sum(row["bytes"] for row in pool.models()) <= pool.max_bytes


def test_model_in_use_stays() -> None:
    pool = ModelPool(2 * SIZE, loader := Loader())
    with pool.lease("a1") as model:
        for name in ("b1", "c1", "d2"):
            pool.get(name)
        assert {"a1", "d2"} <= held(pool)
        assert pool.get("a1") is model
        assert {row["name"]: row["users"] for row in pool.models()}["a1"] == 1
    assert loader.names.count("a1") == 1
    pool.get("e1")
    assert sum(row["bytes"] for row in pool.models()) <= pool.max_bytes


def test_model_larger_than_the_pool_is_not_loaded_again_and_again() -> None:
    pool = ModelPool(2 * SIZE, loader := Loader())
    pool.get("a1")
    for _ in range(3):
        pool.get("b5")
    assert loader.names == ["a1", "b5"]
    assert held(pool) == {"b5"}
    pool.get("a1")
    assert held(pool) == {"a1"}


def test_room_is_made_before_loading() -> None:
    seen: list[set[str]] = []
    loader = Loader()

    def watching(name: str, **options: Any) -> Any:
        seen.append(held(pool))
        return loader(name, **options)

    pool = ModelPool(2 * SIZE, watching, estimate=lambda name, **options: int(name[-1]) * SIZE)
    for name in ("a1", "b1", "c2"):
        pool.get(name)
    assert seen == [set(), {"a1"}, set()]


def test_failed_load_reaches_all_who_wait_and_is_not_kept() -> None:
    pool = ModelPool(10 * SIZE, loader := Loader(delay=0.05))
    loader.failing.add("a1")

    def error_of(_: int) -> str:
        with pytest.raises(ModelError) as caught:
            pool.get("a1")
        return str(caught.value)

    with ThreadPoolExecutor(4) as threads:
        assert set(threads.map(error_of, range(4))) == {"a1 is damaged"}
    assert len(loader.calls) == 1
    assert pool.models() == []
    loader.failing.clear()
    assert pool.get("a1") is pool.get("a1")


def test_interrupted_load_leaves_nobody_waiting() -> None:
    started = threading.Event()

    def interrupted(name: str, **options: Any) -> Any:
        started.set()
        time.sleep(0.1)
        raise KeyboardInterrupt

    pool = ModelPool(SIZE, interrupted)
    with ThreadPoolExecutor(1) as threads:

        def wait() -> None:
            started.wait()
            with pytest.raises(ModelError, match="interrupted"):
                pool.get("a1")

        waiting = threads.submit(wait)
        with pytest.raises(KeyboardInterrupt):
            pool.get("a1")
        waiting.result(timeout=5)


def test_lease_ends_with_an_exception() -> None:
    pool = ModelPool(10 * SIZE, Loader())

    def fail() -> None:
        with pool.lease("a1"):
            raise ValueError

    with pytest.raises(ValueError):  # noqa: PT011
        fail()
    assert pool.models()[0]["users"] == 0
    pool.clear()
    assert pool.models() == []


def test_many_threads_many_models_within_the_limit() -> None:
    pool = ModelPool(2 * SIZE, Loader(delay=0.001))

    def use(i: int) -> None:
        with pool.lease(f"model{i % 5}-1") as model:
            assert model is pool.get(f"model{i % 5}-1")

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(use, range(40)))
    assert all(row["users"] == 0 for row in pool.models())
    assert sum(row["bytes"] for row in pool.models()) <= pool.max_bytes


def test_pool_without_room() -> None:
    with pytest.raises(InputError, match="0"):
        ModelPool(0)
