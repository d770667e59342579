"""The direction app -> tabs -> lens_core, the floors inside the core, and a light start."""

from __future__ import annotations

import ast
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
FLOORS = (
    "bounds",
    "errors",
    "progress",
    "held",
    "records",
    "settings",
    "tokens",
    "prompts",
    "network",
    "models",
    "weights",
    "tensor_file",
    "weight_edit",
    "checkpoints",
    "memory",
    "anatomy",
    "trace",
    "attention_own",
    "attention_capture",
    "readout",
    "experts",
    "decomposition",
    "amounts",
    "contributions",
    "dissection",
    "self_check",
    "examine",
    "model_checks",
    "pretrained",
    "loading",
    "pool",
    "edits",
    "lens",
    "tree",
    "repairs",
    "attention",
    "next_token",
    "attribution",
    "remote",
    "pairs",
    "difference",
    "patching",
    "study",
    "figures",
    "cli",
    "__main__",
)
"""A module of the core imports only from above itself."""

HEAVY = ("torch", "transformers", "captum", "datasets", "matplotlib", "gradio", "plotly")
FORBIDDEN = {
    "lens_core": ("gradio", "spaces", "tabs", "app"),
    "tabs": ("torch", "transformers", "captum", "app"),
}


def imported(path: Path) -> Iterator[str]:
    """Every module that a file imports at run time, as a dotted name; relative ones resolved."""
    package = path.relative_to(ROOT).with_suffix("").parts[:-1]
    yield from _imports(ast.parse(path.read_text(encoding="utf-8")), package)


def _imports(tree: ast.AST, package: tuple[str, ...]) -> Iterator[str]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            for other in node.orelse:
                yield from _imports(other, package)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            module = ".".join(part for part in (base, node.module) if part)
            yield module
            yield from (f"{module}.{alias.name}" for alias in node.names)
        else:
            yield from _imports(node, package)


def floor_of(module: str) -> int:
    """The floor of a module of the core; lens_x would stand on that of lens."""
    name = module.split(".")[1]
    owners = [f for f in FLOORS if name == f or name.startswith(f"{f}_")]
    assert owners, f"lens_core.{name} has no floor yet: add it to FLOORS where it belongs"
    return FLOORS.index(max(owners, key=len))


def files(folder: str) -> list[Path]:
    return sorted((ROOT / folder).rglob("*.py"))


def python(code: str) -> str:
    """What a fresh process prints; it runs in the repository root."""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("folder", sorted(FORBIDDEN))
def test_imports_go_one_way(folder: str) -> None:
    wrong = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in files(folder)
        for name in imported(path)
        if name.split(".")[0] in FORBIDDEN[folder]
    ]
    assert not wrong


def test_the_core_imports_only_from_the_floors_above() -> None:
    wrong = []
    for path in files("lens_core"):
        own = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        if own == "lens_core.__init__":
            continue
        for name in imported(path):
            inside = name.startswith("lens_core.")
            if inside and _is_module(name) and floor_of(name) > floor_of(own):
                wrong.append(f"{own} imports {name}")
    assert not wrong


def _is_module(name: str) -> bool:
    stem = ROOT / Path(*name.split(".")[:2])
    return stem.with_suffix(".py").exists() or stem.is_dir()


def test_only_figures_and_the_app_import_charts() -> None:
    charts = ("plotly", "matplotlib")
    outside = [path for path in files("lens_core") if "figures" not in path.parts]
    wrong = [path for path in outside if any(n.split(".")[0] in charts for n in imported(path))]
    assert not wrong


def test_environment_variables_are_read_in_the_app_only() -> None:
    for path in [*files("lens_core"), *files("tabs")]:
        assert "os.environ" not in path.read_text(encoding="utf-8"), path


def test_the_core_starts_light() -> None:
    loaded = python(f"import sys, lens_core; print([m for m in {HEAVY} if m in sys.modules])")
    assert loaded.strip() == "[]"


def test_the_page_starts_without_the_model_stack() -> None:
    """Laying out the page needs gradio alone; torch and transformers load behind it."""
    code = (
        "import sys, app; app.build(app.Settings());"
        "print([m for m in ('torch', 'transformers', 'captum', 'datasets', 'plotly', 'matplotlib')"
        " if m in sys.modules])"
    )
    assert python(code).strip() == "[]"


@pytest.mark.slow
def test_every_exported_name_is_callable_in_any_order() -> None:
    """A module named like a function would replace it once imported, in some orders only."""
    names = python("import lens_core; print(*lens_core.__all__)").split()
    assert names
    for seed in range(3):
        order = random.Random(seed).sample(names, len(names))
        code = f"import lens_core\nfor n in {order}: assert callable(getattr(lens_core, n)), n"
        python(code + f"\nfor n in {order}: assert callable(getattr(lens_core, n)), n")


def front_matter() -> dict[str, object]:
    _, head, _ = (ROOT / "README.md").read_text(encoding="utf-8").split("---\n", 2)
    return yaml.safe_load(head)


def test_the_space_front_matter_fits_the_requirements() -> None:
    matter = front_matter()
    requirements = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    assert f"gradio=={matter['sdk_version']}" in requirements
    assert len(str(matter["short_description"])) <= 60
    assert isinstance(matter["python_version"], str), "3.10 unquoted reads as 3.1"
    assert (ROOT / str(matter["app_file"])).is_file()
