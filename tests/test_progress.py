"""Listeners hear how far a run is, in their own thread alone, and can stop it without a trace."""

from __future__ import annotations

import threading
from itertools import groupby

import pytest
import torch
from families import IDS, N_LAYERS, loaded

from lens_core import LensError, applied, capture, lens_run, logit_lens
from lens_core.edits import make_edit
from lens_core.lens import rows
from lens_core.progress import Stopped, portion, reported, tick
from lens_core.weights import columns

Tick = tuple[str, int, int]
PARTS = ["resid_post", "attn_out", "mlp_out"]


class Stopping:
    """Notes ticks, and stops the run at one of a kind."""

    def __init__(self, what: str = "", after: int = 1) -> None:
        self.ticks: list[Tick] = []
        self.what = what
        self.after = after

    def __call__(self, what: str, done: int, total: int) -> None:
        self.ticks.append((what, done, total))
        if what == self.what and sum(tick[0] == what for tick in self.ticks) == self.after:
            raise Stopped


def test_without_a_listener_a_tick_does_nothing() -> None:
    tick("layer", 1, 2)
    with portion(0, 2):
        tick("layer", 1, 2)


def test_the_innermost_listener_hears() -> None:
    outer, inner = Stopping(), Stopping()
    with reported(outer):
        tick("layer", 1, 3)
        with reported(inner):
            tick("layer", 2, 3)
        tick("layer", 3, 3)
    tick("layer", 4, 4)
    assert outer.ticks == [("layer", 1, 3), ("layer", 3, 3)]
    assert inner.ticks == [("layer", 2, 3)]


def test_portions_add_up() -> None:
    heard = Stopping()
    with reported(heard):
        for index in range(2):
            with portion(index, 2):
                tick("readout", 1, 2)
                with portion(1, 2):
                    tick("readout", 1, 1)
    assert heard.ticks == [
        ("readout", 1, 4),
        ("readout", 2, 4),
        ("readout", 3, 4),
        ("readout", 4, 4),
    ]


def test_capture_ticks_once_a_block() -> None:
    heard = Stopping()
    with reported(heard):
        capture(loaded("llama"), IDS)
    assert heard.ticks == [("layer", done, N_LAYERS) for done in range(1, N_LAYERS + 1)]


@pytest.mark.parametrize("scale", ["final", "local", "own"])
def test_a_lens_tells_of_tokens_layers_and_readout(
    scale: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows, "_block_width", lambda readout, n: 40)
    monkeypatch.setattr(rows, "_rows_at_once", lambda readout: 9)
    heard = Stopping()
    with reported(heard):
        logit_lens(
            loaded("llama"), IDS, components=PARTS, scale=scale, divergences=True, generate=3
        )
    kinds = [what for what, _ in groupby(heard.ticks, key=lambda found: found[0])]
    assert kinds == ["token", "layer", "readout"]
    assert [found for found in heard.ticks if found[0] == "token"] == [
        ("token", done, 3) for done in (1, 2, 3)
    ]
    shares = [done / total for what, done, total in heard.ticks if what == "readout"]
    assert len(shares) > 10
    assert shares == sorted(set(shares))
    assert shares[-1] == 1


def hooks(model: torch.nn.Module) -> int:
    return sum(
        len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules()
    )


@pytest.mark.parametrize(
    ("what", "after"), [("token", 2), ("layer", 1), ("layer", N_LAYERS), ("readout", 1)]
)
def test_a_stopped_run_leaves_nothing_behind(what: str, after: int) -> None:
    model = loaded("llama")
    fresh = logit_lens(model, IDS, components=PARTS).top_logit
    module = model.anatomy.layers[1].mlp_proj
    assert module is not None
    chosen = torch.tensor([3, 8])
    before = columns(module, chosen)
    edit = make_edit(model, {1: (chosen, before + 1)})
    hooked = hooks(model.model)
    with (
        pytest.raises(Stopped),
        reported(Stopping(what, after)),
        applied(model, edit),
    ):
        logit_lens(model, IDS, components=PARTS, generate=3)
    assert hooks(model.model) == hooked
    assert torch.equal(columns(module, chosen), before)
    assert model.active_edits == ()
    assert _free(model.lock)
    assert (logit_lens(model, IDS, components=PARTS).top_logit == fresh).all()


def _free(lock: threading.RLock) -> bool:  # pyright: ignore[reportGeneralTypeIssues]
    """Whether another thread gets the lock at once."""
    found: list[bool] = []

    def take() -> None:
        found.append(lock.acquire(blocking=False))
        if found[0]:
            lock.release()

    thread = threading.Thread(target=take)
    thread.start()
    thread.join()
    return found[0]


def test_stopping_is_no_error_of_the_user() -> None:
    assert not issubclass(Stopped, LensError)
    with pytest.raises(Stopped), reported(Stopping("layer")):
        lens_run(loaded("gpt2"), IDS)


def test_each_thread_hears_its_own_run() -> None:
    model, heard = loaded("qwen2"), [Stopping() for _ in range(3)]
    lengths = (3, 5, 7)

    def work(index: int) -> None:
        with reported(heard[index]):
            for _ in range(lengths[index]):
                capture(model, IDS[: lengths[index]])

    threads = [threading.Thread(target=work, args=(index,)) for index in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    one = [("layer", done, N_LAYERS) for done in range(1, N_LAYERS + 1)]
    assert [listener.ticks for listener in heard] == [one * times for times in lengths]
