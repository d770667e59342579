"""The one way to a model: a queue, a GPU call, progress on the way, and errors a user can read."""

from __future__ import annotations

import dataclasses
import os
import threading
from collections.abc import Callable, Collection, Generator, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import gradio as gr

from lens_core.errors import EditError, LensError, ModelError, PromptError
from tabs.operations import OPS, Progress

if TYPE_CHECKING:
    from lens_core.pool import ModelPool
    from lens_core.settings import Settings
    from tabs.requests import Request

MAX_EDIT_BYTES = 16 * 2**20
"""The largest edit that a public page takes, as JSON text."""

Steps = Generator[Any, None, None]
"""Any number of `Progress`, then the result."""


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
        raise gr.Error(str(error), title=title(error), print_exception=False) from error


def title(error: LensError) -> str:
    """The kind of an error in words: PromptError -> "Prompt"."""
    return type(error).__name__.removesuffix("Error") or "Lens"


def result_of(steps: Steps) -> Any:
    """The last thing that a run yields."""
    last = None
    for last in steps:  # noqa: B007 - the progress on the way is not asked for
        pass
    return last


class Stack:
    """PyTorch, transformers and the first model, loaded behind a page that is already up."""

    def __init__(self, load: Callable[[], Iterator[str]]) -> None:
        self._load = load
        self._ready = threading.Event()
        self._started = threading.Lock()
        self.failure: LensError | None = None
        """Why the first model could not be loaded; other models may load nevertheless."""
        self.status = "Loading PyTorch"
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
        while not self._ready.wait(timeout=0.2):
            yield Progress(self.status)

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

    @property
    def run_queue(self) -> dict[str, Any]:
        """Events that run a model: one at a time here; on ZeroGPU its scheduler decides."""
        return {"concurrency_id": "run", "concurrency_limit": 8 if self.zero_gpu else 1}

    @property
    def detail_queue(self) -> dict[str, Any]:
        """Events that only read what is there already."""
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
        """Progress of an operation, then its result; errors a user can fix are `gr.Error`."""
        with user_errors():
            self.check(request)
            yield from self.stack.steps()
        yield from self._gpu(op, request, self.source(request.model))

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

    def source(self, name: str) -> str:
        """What to load for a name: its folder from the settings, or the name itself."""
        return self.settings.models.get(name) or name

    def check(self, request: Request) -> None:
        """Refuse what the page does not allow, before any model is touched.

        Raises:
            ModelError: a model that is not on a public page's list.
            PromptError: nothing to read, or more characters than the limit.
            EditError: an edit too large for a public page.
        """
        names = self.settings.model_names
        if self.settings.public and request.model not in names:
            listed = ", ".join(f'"{name}"' for name in names)
            raise ModelError(
                f'The model "{request.model}" is not on this page\'s list; choose one of {listed}, '
                "or run LM Lens on your own machine."
            )
        if not request.prompt:
            raise PromptError("The prompt is empty (0 characters); type at least one character.")
        limit = self.settings.max_prompt_chars
        if len(request.prompt) > limit:
            raise PromptError(
                f"The prompt has {len(request.prompt)} characters; the limit is {limit}. "
                "Shorten the prompt."
            )
        self._check_edit(request.edit)

    def _check_edit(self, edit: dict[str, Any] | None) -> None:
        if edit is None or not self.settings.public:
            return
        size = sum(len(str(value)) for value in edit.values())
        if size > MAX_EDIT_BYTES:
            raise EditError(
                f"The edit has {size} bytes; the limit of this page is {MAX_EDIT_BYTES}. "
                "Use fewer columns, or run LM Lens on your own machine."
            )

    def _load_stack(self) -> Iterator[str]:
        """Load what the first run needs, saying what it is.

        On ZeroGPU models load in the worker: examining one runs it, which the main process cannot.
        """
        yield "Loading PyTorch and transformers"
        pool = self.pool
        if self.zero_gpu:
            return
        name = self.settings.default_model
        yield f"Loading {name}"
        pool.get(self.source(name))

    def _gpu_entry(self) -> Callable[..., Steps]:
        """The one function that runs models: each decorated function has a worker of its own."""

        def duration(op: str, request: Request, source: str) -> int:
            """Seconds to reserve; a visitor's quota is compared with them."""
            del op, request, source
            return 60

        def gpu(op: str, request: Request, source: str) -> Steps:
            with user_errors():
                yield from OPS[op](self.pool, request, source, self.settings.max_tokens)

        return on_gpu(gpu, duration)
