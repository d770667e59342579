"""The one way to a model: a queue, a GPU call, progress on the way, and errors a user can read."""

from __future__ import annotations

import dataclasses
import gc
import os
import threading
from collections.abc import Callable, Collection, Generator, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import gradio as gr

from lens_core.errors import EditError, InputError, LensError, ModelError, PromptError
from tabs.background import Progress, in_background, in_place
from tabs.bench import Bench
from tabs.operations import OPS
from tabs.repair_operations import basis_bytes

if TYPE_CHECKING:
    from lens_core.pool import ModelPool
    from lens_core.settings import Settings
    from tabs.requests import HeldEdit, Request

MAX_EDIT_BYTES = 16 * 2**20
"""The largest edits that a public page takes together, as JSON text."""

MAX_PAIRS = 100
"""How many prompts with targets a public page takes at once."""

MAX_EPOCHS = 50
"""How many updates of each a public page makes at most."""

LONG_OPS = (
    *("repair_view", "repair_evaluate", "repair_compare", "repair_strengths"),
    *("pair_difference", "pair_difference_view", "pair_export"),
    *("layer_operations", "layer_operations_view"),
)
"""Operations that read dozens of texts."""

HELD_SHARE = 16
"""What the clicks of a tab read again may take this part of the free memory, each kind of it."""

Steps = Generator[Progress, None, Any]
"""Any number of `Progress`; returns the result."""


def on_gpu(function: Callable[..., Steps], duration: Callable[..., int]) -> Callable[..., Steps]:
    """The function as a ZeroGPU call; unchanged elsewhere, and where `spaces` is not installed."""
    try:
        from spaces import GPU
    except ImportError:
        return function
    return GPU(function, duration=duration)


@contextmanager
def user_errors() -> Iterator[None]:
    """What a user can put right becomes a message; every other error keeps its traceback."""
    try:
        yield
    except LensError as error:
        raise UserError(error) from error


class UserError(gr.Error):
    """An error that the user can put right, on its way to the page or a client."""

    def __init__(self, error: LensError) -> None:
        self.kind = type(error).__name__.removesuffix("Error") or "Lens"
        """The kind in one word: PromptError -> "Prompt"."""
        self.remedy: dict[str, Any] | None = error.remedy
        """What would put it right, for a button; see `LensError`."""
        super().__init__(str(error), title=self.kind, print_exception=False)

    def __reduce__(self) -> tuple[Any, ...]:
        """From a GPU worker it comes back whole."""
        return _user_error, (self.kind, str(self.message), self.remedy)


def _user_error(kind: str, message: str, remedy: dict[str, Any] | None) -> UserError:
    error = UserError(LensError(message, remedy=remedy))
    error.kind = error.title = kind
    return error


def result_of(steps: Generator[Any, None, Any]) -> Any:
    """The result of a run, without what it says on the way."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


class Stack:
    """PyTorch, transformers and the first model, loaded behind a page that is already up."""

    def __init__(self, load: Callable[[], Iterator[Progress]]) -> None:
        self._load = load
        self._ready = threading.Event()
        self._started = threading.Lock()
        self.failure: LensError | None = None
        """Why the first model could not be loaded; other models may load nevertheless."""
        self.status = Progress("status.stack", {})
        """What is being done now, for the status line."""

    def start(self, *, after: float = 0.0) -> None:
        """Begin in a thread, once, in so many seconds; later calls do nothing."""
        if self._started.acquire(blocking=False):
            thread = threading.Timer(after, self._run)
            thread.daemon = True
            thread.start()

    def load_now(self) -> None:
        """Load before the page is up, where models must be there when it opens."""
        if self._started.acquire(blocking=False):
            self._run()

    def steps(self) -> Steps:
        """Say what is being loaded until everything is."""
        self.start()
        said = None
        while not self._ready.wait(timeout=0.2):
            if self.status is not said:
                said = self.status
                yield said

    @property
    def ready(self) -> bool:
        """Whatever could be loaded is."""
        return self._ready.is_set()

    def _run(self) -> None:
        try:
            for status in self._load():
                self.status = status
        except LensError as error:
            self.failure = error
        finally:
            # What is loaded now stays: without it, collecting garbage takes 0 instead of 0.3 s.
            gc.collect()
            gc.freeze()
            self._ready.set()


class Runtime:
    """Runs operations on models for the tabs and the endpoints, within the limits of the page."""

    def __init__(self, settings: Settings, *, zero_gpu: bool = False) -> None:
        self.settings = settings
        self.zero_gpu = zero_gpu
        self.stack = Stack(self._load_stack)
        self._pool: ModelPool | None = None
        self._making_pool = threading.Lock()
        self._gpu = self._gpu_entry()
        # Deleted with the runtime.
        self._windows = TemporaryDirectory(prefix="lens-pairs-", ignore_cleanup_errors=True)

    @property
    def run_queue(self) -> dict[str, Any]:
        """Events that run a model: one at a time here; on ZeroGPU its scheduler decides."""
        return {"concurrency_id": "run", "concurrency_limit": 8 if self.zero_gpu else 1}

    @property
    def detail_queue(self) -> dict[str, Any]:
        """Events that read more of a run, which is there already as long as it is held."""
        return {"concurrency_id": "detail", "concurrency_limit": os.cpu_count() or 1}

    @property
    def pool(self) -> ModelPool:
        """The loaded models; made by the first that asks, since it needs PyTorch."""
        with self._making_pool:
            if self._pool is None:
                from lens_core.memory import free_bytes
                from lens_core.pool import ModelPool

                gib = self.settings.pool_gib
                self._pool = ModelPool(free_bytes("cpu") // 2 if gib is None else int(gib * 2**30))
            return self._pool

    def steps(self, op: str, request: Request) -> Steps:
        """Progress of an operation; returns its result. Errors a user can fix are `UserError`."""
        with user_errors():
            self.check(request)
            yield from self.stack.steps()
            source = self.source(request.model)
            if self.zero_gpu:
                yield Progress("status.gpu", {})
            elif source not in {model["name"] for model in self.pool.models()}:
                yield Progress("status.loading", {"model": request.model})
        result: Any = None
        for step in self._gpu(op, request, source):
            if isinstance(step, Progress):
                yield step
            else:
                result = step
        if source != request.model:
            for header in _headers(result):
                header["model"]["id"] = request.model  # a visitor need not know the folder
        return result

    def models(self) -> list[dict[str, Any]]:
        """What can be named, with facts and self-check of the models that are loaded."""
        loaded = {model["name"] for model in self.pool.models()} if self.stack.ready else set()
        return [self._model(name, loaded) for name in self.settings.model_names]

    def _model(self, name: str, loaded: Collection[str]) -> dict[str, Any]:
        source = self.source(name)
        record: dict[str, Any] = {
            "name": name,
            "default": name == self.settings.default_model,
            "loaded": source in loaded,
            "facts": None,
            "self_check": None,
        }
        if source in loaded:
            model = self.pool.get(source)
            record["facts"] = dataclasses.asdict(model.facts)
            record["self_check"] = model.self_check.to_json()
        return record

    def max_tokens(self, op: str, name: str) -> int:
        """The longest prompt for an operation: the page's limit, or the model's where smaller."""
        limit: int = getattr(self.settings.max_tokens, op)
        source = self.source(name)
        if source not in {model["name"] for model in self.pool.models()}:
            return limit
        return min(limit, self.pool.get(source).facts.max_positions or limit)

    def device(self, name: str) -> str:
        """Where a loaded model runs, as a person says it."""
        source = self.source(name)
        if self.zero_gpu or source not in {model["name"] for model in self.pool.models()}:
            return "GPU" if self.zero_gpu else ""
        return self.pool.get(source).facts.device.upper()

    def source(self, name: str) -> str:
        """What to load for a name: its folder from the settings, or the name itself."""
        return self.settings.models.get(name) or name

    def check(self, request: Request) -> None:
        """Refuse what the page does not allow, before any model is touched.

        Raises:
            ModelError: a model that is not on a public page's list.
            PromptError: a text without characters, or with more than the limit.
            EditError: edits too large for a public page.
            InputError: more pairs, texts or updates than a public page takes at once.
        """
        names = self.settings.model_names
        if self.settings.public and request.model not in names:
            listed = ", ".join(f'"{name}"' for name in names)
            raise ModelError(
                f'The model "{request.model}" is not on this page\'s list; choose one of {listed}, '
                "or run LM Lens on your own machine."
            )
        for name, texts in (("prompt", request.texts), ("target", request.wanted_texts)):
            for text in texts:
                self._check_text(name, text)
        if self.settings.public:
            _check_search(len(request.wanted_texts), getattr(request, "epochs", None))
            _check_sizes(request.public_limits)
            _check_edits(request.edit or ())

    def _check_text(self, name: str, text: str) -> None:
        limit = self.settings.max_prompt_chars
        if not text:
            raise PromptError(f"The {name} is empty (0 characters); type at least one character.")
        if len(text) > limit:
            raise PromptError(
                f"The {name} has {len(text)} characters; the limit is {limit}. Shorten the {name}."
            )

    def _load_stack(self) -> Iterator[Progress]:
        """Load what the first run needs, saying what it is.

        On ZeroGPU models load in the worker: examining one runs it, which the main process cannot.
        """
        yield Progress("status.stack", {})
        pool = self.pool
        if self.zero_gpu:
            return
        name = self.settings.default_model
        yield Progress("status.loading", {"model": name})
        pool.get(self.source(name))

    @cached_property
    def _bench(self) -> Bench:
        from lens_core.held import Held
        from lens_core.memory import free_bytes

        share = free_bytes("cpu") // HELD_SHARE
        return Bench(
            self.pool,
            self.settings.max_tokens,
            lens_runs=Held(share),
            graph_runs=Held(share),
            repair_bases=Held(share, size=basis_bytes),
            pair_windows=Path(self._windows.name),
        )

    def _gpu_entry(self) -> Callable[..., Generator[Any, None, None]]:
        """The one function that runs models: each decorated function has a worker of its own."""

        def duration(op: str, request: Request, source: str) -> int:
            """Seconds to reserve; a visitor's quota is compared with them."""
            del request, source
            return 120 if op in LONG_OPS else 60

        def gpu(op: str, request: Request, source: str) -> Generator[Any, None, None]:
            """Progress, then the result: what a GPU call returns would be lost on the way."""

            def work() -> Any:
                return OPS[op](self._bench, request, source)

            with user_errors():
                yield (yield from (in_place if self.zero_gpu else in_background)(work))

        return on_gpu(gpu, duration)


def _headers(result: Any) -> list[Any]:
    """The headers of a result, of the results that it is made of, or of several."""
    if isinstance(result, list):
        return [header for one in result for header in _headers(one)]
    if hasattr(result, "headers"):
        return list(result.headers)
    return [result.header] if hasattr(result, "header") else []


def _check_search(pairs: int, epochs: int | None) -> None:
    if pairs > MAX_PAIRS:
        raise InputError(
            f"There are {pairs} pairs; the limit of this page is {MAX_PAIRS}. "
            "Give fewer at once, or run LM Lens on your own machine."
        )
    if epochs is not None and epochs > MAX_EPOCHS:
        raise InputError(
            f"epochs is {epochs}; the limit of this page is {MAX_EPOCHS}. "
            "Ask for fewer, or run LM Lens on your own machine."
        )


def _check_sizes(limits: dict[str, tuple[int, int]]) -> None:
    for name, (size, most) in limits.items():
        if size > most:
            raise InputError(
                f"{name} comes to {size}; the limit of this page is {most}. "
                "Give fewer, or run LM Lens on your own machine."
            )


def _check_edits(edits: Sequence[HeldEdit]) -> None:
    size = sum(len(str(held.edit)) for held in edits)
    if size > MAX_EDIT_BYTES:
        several = "edit has" if len(edits) == 1 else "edits together have"
        raise EditError(
            f"The {several} {size} bytes; the limit of this page is {MAX_EDIT_BYTES}. "
            "Use fewer columns, or run LM Lens on your own machine."
        )
