"""The command about models behind an API: what it prints is what the JSON says."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from fake_endpoint import LocalModel, capital_model, chat, serving
from test_command_line import ROOT, demo, run

from lens_core import RemoteImportance
from lens_core.cli.remote_report import remote_report
from lens_core.models import LoadedModel

__all__ = ["demo"]

PROMPT = "The capital of France is"
COMMAND = ["remote-importance", PROMPT, "--model", "m"]


def test_the_lines_say_what_the_json_says(tmp_path: Path) -> None:
    files = {name: tmp_path / f"out.{name}" for name in ("json", "csv")}
    options = [part for name, file in files.items() for part in (f"--{name}", str(file))]
    with serving(capital_model) as served:
        result = run(*COMMAND, "--base-url", served.url, *options)
    assert result.exit_code == 0, result.output
    record = json.loads(files["json"].read_text("utf-8"))
    found = RemoteImportance.from_json(record)
    assert result.stdout.splitlines() == list(remote_report(record, columns=100))
    assert files["csv"].read_text("utf-8") == found.to_csv()
    starred = [line.split()[1] for line in result.stdout.splitlines() if line.startswith("*")]
    assert starred == ["capital", "France"]
    assert result.stderr.startswith("Up to 18 requests")


def test_probabilities_and_bounds(demo: LoadedModel) -> None:
    with serving(LocalModel(demo)) as served:
        result = run(*COMMAND, "--base-url", served.url, "--answer", " Paris")
    assert "Tier 1; importance: nats that the answer loses." in result.stdout
    assert "Noise: not measured." in result.stdout

    def first(path: str, body: dict) -> dict:
        assert path == "chat/completions"
        known = "France" in body["messages"][-1]["content"]
        return chat("x", {"Paris": 0.9, "a": 0.05} if known else {"a": 0.6, "b": 0.3})

    with serving(first) as served:
        result = run(*COMMAND, "--base-url", served.url, "--tier", "2")
    assert result.stdout.count("≥") == 1


def test_the_estimate_sends_nothing() -> None:
    with serving(capital_model) as served:
        result = run(*COMMAND, "--base-url", served.url, "--estimate", "--units", "sentences")
        assert served.asked == []
    assert result.stdout.startswith("Up to 14 requests, about 84 prompt tokens: 1 parts")


def test_the_key_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LENS_API_KEY", "sk-secret")
    with serving(capital_model) as served:
        result = run(*COMMAND, "--base-url", served.url, "--json", "-")
        assert set(served.keys) == {"Bearer sk-secret"}
    assert "secret" not in result.output
    assert "secret" not in run("remote-importance", "--help").output


def test_options_reach_the_run(tmp_path: Path) -> None:
    options = ["--mask", "[MASK]", "--protect", "The", "--protect", "is", "--repeats", "1"]
    options += ["--tier", "3", "--distance", "chrf", "--cache", str(tmp_path), "--system", "S"]
    with serving(capital_model) as served:
        where = ["--base-url", served.url, *options, "--json", "-"]
        record = json.loads(run(*COMMAND, *where).stdout)
        again = json.loads(run(*COMMAND, *where).stdout)
    assert [one["text"] for one in record["features"]] == ["capital", "of", "France"]
    assert (record["method"]["mask"], record["method"]["score"]) == ("[MASK]", "chrf")
    assert (record["noise"]["n"], record["input"]["system"]) == (1, "S")
    assert (again["requests"], again["features"]) == (0, record["features"])


def test_errors_are_one_line() -> None:
    for options in (["--base-url", "nowhere"], ["--base-url", "http://h", "--max-requests", "1"]):
        result = run(*COMMAND, *options)
        assert result.exit_code == 2
        assert result.stderr.startswith("Error: ")
        assert result.stderr.count("\n") == 1


def test_nothing_a_model_says_is_obeyed_by_a_terminal() -> None:
    with serving(lambda path, body: chat("\x1b[31mred\u202e\n" + body.get("x", ""))) as served:
        result = run(*COMMAND, "--base-url", served.url, "--tier", "3")
    assert "\x1b" not in result.stdout
    assert "\u202e" not in result.stdout


def test_it_needs_no_model_stack() -> None:
    code = (
        "import sys, lens_core.remote; import lens_core.cli.remote_report;"
        "print([m for m in ('torch', 'transformers', 'gradio') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.stdout.strip() == "[]", done.stderr
