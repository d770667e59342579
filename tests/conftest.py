"""Shapes and types in the signatures of the core are checked at run time; nothing is downloaded."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from families import EVERY, loaded
from jaxtyping import install_import_hook

# Tiny models: a second thread only waits, and on a busy machine it waits long.
torch.set_num_threads(1)

if TYPE_CHECKING:
    from playwright.sync_api import Browser
    from viewer_stage import Stage
    from visits import Visit

    from lens_core.models import LoadedModel
    from tabs.runtime import Runtime

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
os.environ["COLUMNS"] = "100"  # of the terminal that commands write to

# beartype cannot check pydantic's protocols, and pydantic checks those values itself.
UNCHECKED = {"settings", "__init__", "__main__"}

CORE = Path(__file__).parents[1] / "lens_core"
MODULES = {path.relative_to(CORE).parts[0].removesuffix(".py") for path in CORE.rglob("*.py")}

install_import_hook(
    [f"lens_core.{module}" for module in sorted(MODULES - UNCHECKED)], "beartype.beartype"
)


@dataclass(frozen=True)
class Served:
    """The app as a user meets it, with the embedded model loaded."""

    url: str
    runtime: "Runtime"

    def visit(self, browser: "Browser", **options: Any) -> "Visit":
        """The page in a visitor's browser."""
        from visits import Visit

        return Visit(browser, self.url, **options)


@pytest.fixture(scope="session")
def served() -> Iterator[Served]:
    """The app on a free port; its model stack loads behind the page, as it does for a user."""
    import app

    settings = app.Settings()
    page, runtime = app.build(settings)
    _, url, _ = page.launch(prevent_thread_lock=True, quiet=True, **app.launch_options(settings))
    runtime.stack.start()
    yield Served(url, runtime)
    page.close()


@pytest.fixture(scope="module")
def browser() -> Iterator["Browser"]:
    """The browser of a module's tests; skipped where there is none, but not in CI."""
    from visits import chromium_browser

    with chromium_browser() as running:
        yield running


@pytest.fixture
def visits(browser: "Browser", served: "Served | Stage") -> Iterator[Callable[..., Any]]:
    """Opens the page in ways of the test's own; a module may serve another page than the app."""
    opened: list[Any] = []

    def visit(**options: Any) -> Any:
        opened.append(served.visit(browser, **options))
        return opened[-1]

    yield visit
    for one in opened:
        one.close()


@pytest.fixture
def visit(visits: Callable[..., Any]) -> Any:
    """The page as it opens."""
    return visits()


@pytest.fixture(params=EVERY)
def model(request: pytest.FixtureRequest) -> "LoadedModel":
    """The tiny model of every family."""
    return loaded(request.param)
