"""The attribution command: what it prints is what the JSON says."""

import json
import re
from pathlib import Path

import pytest
from test_command_line import demo, loaded_once, refused, run

from lens_core import Attribution, Faithfulness
from lens_core.cli.attribution_report import attribution_report, faithfulness_report

__all__ = ["demo", "loaded_once"]

pytestmark = pytest.mark.usefixtures("loaded_once")
ATTRIBUTE = ["attribute", "The capital of France is"]


def printed(*arguments: str) -> str:
    result = run(*ATTRIBUTE, *arguments)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_the_lines_say_what_the_json_says(tmp_path: Path) -> None:
    file = tmp_path / "out.json"
    arguments = ["--also", "shapley", "--faithfulness", "--interactions", "3", "--features", "word"]
    lines = printed(*arguments, "--json", str(file)).splitlines()
    record = json.loads(file.read_text("utf-8"))
    trust, (other,) = record["faithfulness"], record["also"]
    written = [
        *attribution_report(record, columns=100),
        "",
        *attribution_report(other, columns=100),
        "",
        *faithfulness_report(trust),
    ]
    assert lines == [re.sub("\x1b\\[[0-9]*m", "", line) for line in written]
    assert Attribution.from_json(other).method == "shapley"
    assert [one.name for one in Faithfulness.from_json(trust).rankings] == ["occlusion", "shapley"]
    assert any("·Paris" in line for line in lines)
    assert any(line.startswith("  ·France") for line in lines)


def test_the_foil_and_sampled_scores_are_shown() -> None:
    lines = printed("--target", " Paris", "--foil", " Lagos", "--method", "gradient_shap")
    assert 'what speaks for "·Paris" rather than "·Lagos"' in lines
    assert "\u00b1" in lines
    assert "contrast in logits" in lines


def test_csv_goes_to_standard_output() -> None:
    lines = printed("--csv", "-", "--occluder", "delete", "--target", " Paris, and").splitlines()
    assert lines[0].startswith("feature,start,stop,text,score")
    assert len(lines) == 6


def test_a_gap_that_is_not_known_is_said() -> None:
    assert "Gap: not known" in printed("--occluder", "delete", "--special", "none")


def test_errors_are_one_line() -> None:
    assert "a contrast needs a foil" in refused(run(*ATTRIBUTE, "--score", "contrast"))
    assert "method is 'lime'" in refused(run(*ATTRIBUTE, "--also", "lime"))


def test_a_token_cannot_command_the_terminal() -> None:
    result = run("attribute", "red \x1b[31m text")
    assert result.exit_code == 0, result.output
    assert "\x1b" not in result.stdout
