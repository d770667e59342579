"""Shapes and types in the signatures of the core are checked at run time; nothing is downloaded."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch
from jaxtyping import install_import_hook

# Tiny models: a second thread only waits, and on a busy machine it waits long.
torch.set_num_threads(1)

if TYPE_CHECKING:
    from tabs.runtime import Runtime

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"

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
