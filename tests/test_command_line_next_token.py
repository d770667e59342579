"""The command about the next token, and the pictures of the commands about attention."""

import csv
import io
import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from test_command_line import PROMPT, assert_harmless, demo, loaded_once, refused, run

from lens_core import NextToken, StringProbability, next_token, string_probability
from lens_core.cli.next_token_report import next_token_report
from lens_core.edits import make_edit, save_edit
from lens_core.models import LoadedModel
from lens_core.weights import columns

__all__ = ["demo", "loaded_once"]

pytestmark = pytest.mark.usefixtures("loaded_once")
NEXT = ["next-token", PROMPT, "--model", "demo"]


def printed(*arguments: str) -> str:
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    return result.stdout


def record_of(*arguments: str) -> dict[str, Any]:
    return json.loads(printed(*NEXT, *arguments, "--json", "-"))


def bare(record: dict[str, Any]) -> dict[str, Any]:
    """Without what differs from run to run."""
    return {key: value for key, value in record.items() if key not in ("created", "timing")}


def test_the_lines_say_what_the_json_says(demo: LoadedModel, tmp_path: Path) -> None:
    files = {name: tmp_path / f"out.{name}" for name in ("json", "csv")}
    options = [part for name, file in files.items() for part in (f"--{name}", str(file))]
    lines = printed(*NEXT, "--k", "4", "--text", " Paris", *options).splitlines()
    record = json.loads(files["json"].read_text("utf-8"))
    report = next_token_report(record, columns=100)
    assert lines == [re.sub(r"\x1b\[\d+m", "", line) for line in report]
    found = next_token(demo, demo.tokenize(PROMPT), k=4)
    string = string_probability(demo, demo.tokenize(PROMPT), " Paris")
    assert bare(record.pop("string")) == bare(string.to_json())
    assert bare(record) == bare(found.to_json())
    assert NextToken.from_json(record).to_json() == record
    best = next(line for line in lines if line.startswith("     1"))
    assert best.split()[1:4] == ["·Paris", f"{100 * found.top.p[0]:.1f}", "%"]
    assert best.count("#") == round(20 * float(found.top.p[0]))
    assert any(f"Entropy {found.top.entropy:.3f} nats" in line for line in lines)
    rows = list(csv.DictReader(io.StringIO(files["csv"].read_text("utf-8"))))
    assert files["csv"].read_text("utf-8") == found.to_csv()
    assert [int(row["id"]) for row in rows] == found.top.ids.tolist()
    assert [float(row["p"]) for row in rows] == found.top.p.tolist()
    assert json.loads(rows[0]["token"]) == " Paris"


def test_appended_tokens_are_the_longer_prompt(demo: LoadedModel) -> None:
    record = record_of("--append", " Paris", "--append", "339", "--text", " The")
    ids = torch.cat([demo.tokenize(PROMPT), demo.tokenize(" Paris", special="none")])
    ids = torch.cat([ids, torch.tensor([339])])
    found = next_token(demo, ids)
    assert record["input"]["ids"] == ids.tolist()
    assert record["input"]["n_prompt"] == len(ids) - 2
    assert [step["id"] for step in record["steps"]] == ids[-2:].tolist()
    assert record["top"]["ids"] == found.top.ids.tolist()
    assert record["top"]["p"] == pytest.approx(found.top.p.tolist(), abs=1e-5)
    first = next_token(demo, demo.tokenize(PROMPT))
    assert record["steps"][0]["p"] == pytest.approx(float(first.top.p[0]), rel=1e-5)
    string = StringProbability.from_json(record["string"])
    assert string.log_p == pytest.approx(string_probability(demo, ids, " The").log_p, abs=1e-5)


def test_steps_take_the_most_likely_token() -> None:
    ids = record_of("--steps", "2")["input"]["ids"]
    one = record_of()
    assert ids[len(one["input"]["ids"])] == one["top"]["ids"][0]
    two = record_of("--append", str(one["top"]["ids"][0]))
    assert ids[-1] == two["top"]["ids"][0]
    lines = printed(*NEXT, "--steps", "2").splitlines()
    assert "Appended" in lines
    assert "Text: The capital of France is Paris." in lines


def test_options_reach_the_result(demo: LoadedModel, tmp_path: Path) -> None:
    record = record_of(
        *("--k", "3", "--temperature", "2", "--nucleus", "0.5", "--position", "2"),
        *("--special", "none", "--text", " of"),
    )
    ids = demo.tokenize(PROMPT, special="none")
    found = next_token(demo, ids, k=3, temperature=2.0, nucleus=0.5, position=2)
    wanted = string_probability(demo, ids[:3], " of")
    assert bare(record.pop("string")) == bare(wanted.to_json())
    assert bare(record) == bare(found.to_json())
    assert ", temperature 2" in printed(*NEXT, "--temperature", "2")
    neurons = torch.arange(demo.facts.d_mlp or 0)
    old = columns(demo.anatomy.layers[0].mlp_proj, neurons)  # pyright: ignore[reportArgumentType]
    edit = make_edit(demo, {0: (neurons, 2 * old)})
    save_edit(edit, tmp_path / "edit.safetensors")
    edited = record_of("--edit", str(tmp_path / "edit.safetensors"), "--append", " Paris")
    assert edited["edit"]["id"] == edit.id
    assert edited["top"]["p"] != record_of("--append", " Paris")["top"]["p"]


def test_a_token_cannot_command_the_terminal(demo: LoadedModel) -> None:
    ids = demo.tokenize("\x1b[31m東京\u202e 🙂\n<script>")
    record = {**next_token(demo, ids, k=100).to_json(), "string": None}
    text = "\x1b[31m\u202e"
    record["string"] = string_probability(demo, ids, text).to_json()
    for columns_wide in (40, 100):
        for line in next_token_report(record, columns=columns_wide):
            assert_harmless(re.sub(r"^\x1b\[1m|\x1b\[0m$", "", line))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--temperature", "0"], "temperature is 0.0; it can be 0.01 to 100"),
        (["--nucleus", "1.5"], "nucleus is 1.5"),
        (["--position", "6"], "position is 6"),
        (["--append", " Paris and"], "is 2 tokens here"),
        (["--append", "999999"], "token id is 999999"),
        (["--position", "1", "--steps", "1"], "go on from the end of the prompt, position 5"),
        (["--text", ""], "empty"),
        (["--max-tokens", "3"], "6 tokens; the limit is 3"),
        (["--json", "-", "--csv", "-"], "standard output can take one"),
    ],
)
def test_errors_are_one_line(arguments: list[str], message: str) -> None:
    assert message in refused(run(*NEXT, *arguments))


def test_attention_is_written_as_picture_and_page(tmp_path: Path) -> None:
    png, page = tmp_path / "a.png", tmp_path / "a.html"
    files = ["--png", str(png), "--html", str(page)]
    lines = printed("attention", PROMPT, *files, "--layer", "3", "--head", "1", "--importance")
    assert "Tokens (weights" in lines
    assert Image.open(png).size[0] > 2000
    text = page.read_text("utf-8")
    assert "layer 3, head 1" in text
    assert "Importance for" in text
    for wrong, message in (
        ([*files, "--layer", "9"], "layer is 9"),
        ([*files, "--head", "4"], "head is 4"),
        (["--importance"], "give --png or --html"),
        (["--png", "-"], "cannot go to"),
        (["--html", str(tmp_path / "none" / "a.html")], "there is no folder"),
    ):
        assert message in refused(run("attention", PROMPT, *wrong))


def test_attributions_are_written_as_picture_and_page(tmp_path: Path) -> None:
    png, page = tmp_path / "a.png", tmp_path / "a.html"
    more = ["--also", "shapley", "--faithfulness"]
    lines = printed("attribute", PROMPT, "--png", str(png), "--html", str(page), *more)
    assert "occlusion: what speaks for" in lines
    assert Image.open(png).size[0] > 2000
    text = page.read_text("utf-8")
    assert text.count("Plotly.newPlot(") == 3
    assert "Comprehensiveness" in text
    assert "cannot go to" in refused(run("attribute", PROMPT, "--html", "-"))
