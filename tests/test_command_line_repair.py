"""The repair command: what it prints is what the JSON says, and what it writes can be used."""

import json
from pathlib import Path

import pytest
from test_command_line import demo, loaded_once, run

from lens_core.cli.repair_report import comparison_report, evaluation_report, repair_report
from lens_core.edits import applied, load_edit
from lens_core.models import LoadedModel
from lens_core.repairs import Repair

__all__ = ["demo", "loaded_once"]

pytestmark = pytest.mark.usefixtures("loaded_once")
PAIR = ["The capital of Nigeria is", " Abuja"]
QUICK = ["repair", *PAIR, "--no-evaluation"]


def printed(*arguments: str) -> str:
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_the_lines_say_what_the_json_says(tmp_path: Path) -> None:
    file = tmp_path / "out.json"
    lines = printed("repair", *PAIR, "--json", str(file)).splitlines()
    record = json.loads(file.read_text("utf-8"))
    found = record.pop("evaluation")
    assert lines == [
        *repair_report(record, columns=100),
        "",
        *evaluation_report(found, columns=100),
    ]
    assert record["status"] == "repaired"
    assert Repair.from_json(record).to_json()["tokens"] == record["tokens"]
    assert any("·Lagos" in line for line in lines)


def test_the_edit_is_kept_and_can_be_held(tmp_path: Path, demo: LoadedModel) -> None:
    file = tmp_path / "abuja.safetensors"
    printed(*QUICK, "--approach", "me-iter", "--out", str(file))
    edit = load_edit(file)
    assert edit.notes["method"] == "me-iter"
    with applied(demo, edit):
        pass
    held = run(*QUICK, "--edit", str(file))
    assert held.exit_code == 0
    assert "says it already" in held.stdout


def test_methods_are_compared_in_a_table(tmp_path: Path) -> None:
    file = tmp_path / "out.json"
    lines = printed("repair", *PAIR, "--compare", "me-batch,mint", "--json", str(file)).splitlines()
    record = json.loads(file.read_text("utf-8"))
    assert lines == list(comparison_report(record))
    assert [row["method"] for row in record["table"]] == ["me-batch", "mint"]


def test_many_pairs_come_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "pairs.jsonl"
    rows = [PAIR, ["The capital of Kazakhstan is", " Astana"]]
    records = (json.dumps({"prompt": prompt, "target": target}) for prompt, target in rows)
    file.write_text("\n".join(records), "utf-8")
    lines = printed("repair", "--pairs", str(file), "--no-evaluation").splitlines()
    assert lines[0].startswith("Repaired")
    assert sum(line.startswith("  prompt") for line in lines) == 2


def test_a_target_that_does_not_come_out_has_its_own_exit_code() -> None:
    result = run(*QUICK, "--method", "me-sgd", "--epochs", "1", "--lr", "1e-7")
    assert result.exit_code == 1
    assert "Not repaired" in result.stdout


def test_layers_and_settings_can_be_chosen_otherwise(tmp_path: Path) -> None:
    file = tmp_path / "out.json"
    run(*QUICK, "--locate", "occlusion", "--compat", "reference", "--json", str(file))
    record = json.loads(file.read_text("utf-8"))
    assert record["options"]["locate"] == "occlusion"
    assert record["options"]["compat"] == "reference"
    assert record["cost"]["epochs"] == 10


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["repair", "only a prompt"], "Give a prompt and its target"),
        (["repair", *PAIR, "--pairs", "x.csv"], "not both"),
        ([*QUICK, "--lr", "fast"], "neither auto nor a number"),
        ([*QUICK, "--compare", "all", "--out", "x"], "keeps no edit"),
        ([*QUICK, "--compat", "reference", "--method", "mint"], "mint has no such mode"),
        ([*QUICK, "--compare", "rome"], 'method is "rome"'),
        (["repair", "--pairs", "missing.csv"], "cannot be read"),
    ],
)
def test_what_does_not_go_together_is_refused(arguments: list[str], message: str) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    assert message in " ".join(result.output.replace("│", " ").split())
