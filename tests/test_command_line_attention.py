"""The command about attention: the tables say what the JSON says, and nothing is obeyed."""

import csv
import io
import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from test_command_line import PROMPT, assert_harmless, demo, loaded_once, refused, run

from lens_core import AttentionViews, attention_views
from lens_core.cli.attention_report import attention_report
from lens_core.cli.terminal import width
from lens_core.edits import make_edit, save_edit
from lens_core.models import LoadedModel
from lens_core.weights import columns

__all__ = ["demo", "loaded_once"]

pytestmark = pytest.mark.usefixtures("loaded_once")
ATTENTION = ["attention", PROMPT, "--model", "demo"]


def printed(*arguments: str) -> str:
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    return result.stdout


def record_of(*arguments: str) -> dict[str, Any]:
    return json.loads(printed(*ATTENTION, *arguments, "--json", "-"))


def test_the_tables_show_what_the_json_says(demo: LoadedModel, tmp_path: Path) -> None:
    files = {name: tmp_path / f"out.{name}" for name in ("json", "csv")}
    options = [part for name, file in files.items() for part in (f"--{name}", str(file))]
    lines = printed(*ATTENTION, *options).splitlines()
    record = json.loads(files["json"].read_text("utf-8"))
    found = AttentionViews.from_json(record)
    report = attention_report(record, top=20, columns=100)
    assert lines == [re.sub(r"\x1b\[\d+m", "", line) for line in report]
    assert files["csv"].read_text("utf-8") == found.to_csv()
    again = attention_views(demo, demo.tokenize(PROMPT))
    assert found.rows.rows.tolist() == again.rows.rows.tolist()
    assert any("not what the prediction depends on" in line for line in lines)
    first = next(at for at, line in enumerate(lines) if line.startswith("Tokens")) + 2
    last = demo.n_layers - 1
    for at, line in enumerate(lines[first : first + len(found.head_mean[0])]):
        assert line.split()[0] == str(at)
        assert f"{found.head_mean[last][at]:.3f}" in line
        assert f"{found.head_mean[:, at].mean():.3f}" in line
        assert line.endswith("sink") == (at in found.sinks.positions)
    assert len(lines) == first + len(found.head_mean[0]) + 3 + demo.n_layers


def test_options_reach_the_views(demo: LoadedModel, tmp_path: Path) -> None:
    record = record_of("--query", "2", "--layers", "0,-1", "--flow")
    assert (record["queries"], record["layers"]) == ([2], [0, demo.n_layers - 1])
    assert len(record["views"]["flow"]) == len(record["input"]["ids"])
    assert record_of()["views"]["flow"] is None
    table = list(csv.DictReader(io.StringIO(printed(*ATTENTION, "--query", "1", "--csv", "-"))))
    assert len(table) == demo.n_layers * demo.facts.n_heads * 2
    shown = printed(*ATTENTION, "--top", "2")
    assert "the 2 of 6 looked at most" in shown
    neurons = torch.arange(demo.facts.d_mlp or 0)
    old = columns(demo.anatomy.layers[0].mlp_proj, neurons)  # pyright: ignore[reportArgumentType]
    edit = make_edit(demo, {0: (neurons, 2 * old)})
    save_edit(edit, tmp_path / "edit.safetensors")
    edited = record_of("--edit", str(tmp_path / "edit.safetensors"))
    assert edited["edit"]["id"] == edit.id
    assert edited["rows"] != record_of()["rows"]


@pytest.mark.parametrize("columns_wide", [40, 100])
def test_the_report_is_harmless_and_fits(demo: LoadedModel, columns_wide: int) -> None:
    ids = demo.tokenize("\x1b[31m東京\u202e 🙂\n<script>")
    record = attention_views(demo, ids).to_json()
    lines = list(attention_report(record, top=50, columns=columns_wide))
    assert_harmless("\n".join(re.sub(r"\x1b\[\d+m", "", line) for line in lines))
    for line in lines[lines.index("") + 1 :]:
        assert width(re.sub(r"\x1b\[\d+m", "", line)) <= max(columns_wide, 90)


def test_what_is_left_out_is_said(demo: LoadedModel) -> None:
    views = attention_views(demo, demo.tokenize(PROMPT), norms=False, rollout=False)
    record = {**views.to_json(), "layers_without_attention": [1, 3]}
    record["views"]["left_out"] = {"rollout": "No rollout here."}
    text = "\n".join(attention_report(record, top=5, columns=100))
    assert "Note: No rollout here." in text
    assert "Without attention: layers 1, 3." in text
    assert "x uniform" not in text
    assert "moved" not in text


def test_what_cannot_be_asked_is_refused() -> None:
    for wrong, said in (
        (["--query", "9"], "query is 9"),
        (["--layers", "9"], "layers is 9"),
        (["--max-tokens", "2"], "limit is 2"),
    ):
        assert said in refused(run(*ATTENTION, *wrong))
    assert "limit is 32" in refused(run("attention", "a " * 60, "--model", "demo", "--flow"))
    assert run(*ATTENTION, "--layers", "x").exit_code == 2
    assert run(*ATTENTION, "--top", "0").exit_code == 2
    assert "two files" in refused(run(*ATTENTION, "--json", "-", "--csv", "-"))
