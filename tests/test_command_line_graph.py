"""The commands about the graph: tables say what the JSON says, and runs go on where they stop."""

import json
import re
from pathlib import Path
from typing import Any

import networkx
import pytest
import torch
from test_command_line import PROMPT, assert_harmless, demo, loaded_once, refused, run

from lens_core import ContributionGraph, GraphDifference, GraphStatistics, graph_statistics
from lens_core.cli.graph_commands import parsed_root
from lens_core.cli.graph_report import graph_report
from lens_core.cli.statistics_rows import read_prompts
from lens_core.cli.terminal import width
from lens_core.edits import make_edit, save_edit
from lens_core.errors import InputError, PromptError
from lens_core.models import LoadedModel
from lens_core.weights import columns

__all__ = ["demo", "loaded_once"]

pytestmark = pytest.mark.usefixtures("loaded_once")
GRAPH = ["graph", PROMPT, "--model", "demo"]
OTHER = "The capital city of Japan is"


def printed(*arguments: str) -> str:
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_the_table_shows_what_the_json_says(tmp_path: Path) -> None:
    files = {name: tmp_path / f"out.{name}" for name in ("json", "csv", "graphml")}
    options = [part for name, file in files.items() for part in (f"--{name}", str(file))]
    lines = printed(*GRAPH, "--top", "5", *options).splitlines()
    record = json.loads(files["json"].read_text("utf-8"))
    found = ContributionGraph.from_json(record)
    assert lines == [
        re.sub(r"\x1b\[\d+m", "", line) for line in graph_report(record, top=5, columns=100)
    ]
    assert files["csv"].read_text("utf-8") == found.to_csv()
    assert len(networkx.read_graphml(files["graphml"]).nodes) == len(found.nodes)
    adding = [
        edge
        for edge in record["edges"]
        if edge["kind"] != "residual" and not edge["dst"].startswith("M")
    ]
    strongest = max(adding, key=lambda edge: edge["influence"])
    first = next(at for at, line in enumerate(lines) if line.startswith("influence ")) + 1
    assert strongest["src"] in lines[first]
    assert strongest["dst"] in lines[first]
    assert f"{100 * strongest['influence']:.1f} %" in lines[first]
    assert len(lines) == first + 5
    for share in record["token_influence"]:
        assert f"{100 * share:.1f} %" in "\n".join(lines)


def test_options_reach_the_graph() -> None:
    options = ["--root", "2,I1_4", "--threshold", "0.1", "--mode", "per_edge", "--json", "-"]
    record = json.loads(printed(*GRAPH, *options))
    assert record["root"]["nodes"] == ["I5_2", "I1_4"]
    assert (record["threshold"]["tau"], record["threshold"]["mode"]) == (0.1, "per_edge")
    logit = ["--metric", "logit", "--target", " Paris", "--foil", " London", "--json", "-"]
    assert json.loads(printed(*GRAPH, *logit))["target"]["foil"] is not None
    assert "try a lower --threshold" in printed(*GRAPH, "--threshold", "1")
    assert printed(*GRAPH, "--graphml", "-").startswith("<?xml")


def test_a_difference_of_prompts_and_of_edits(demo: LoadedModel, tmp_path: Path) -> None:
    against = [*GRAPH, "--against", OTHER]
    found = GraphDifference.from_json(json.loads(printed(*against, "--json", "-")))
    assert len(found.positions_a) == 7
    table = printed(*against)
    assert "A: The capital city of Japan is" in table
    assert "B: The capital of France is" in table
    assert "·Japan|·France" in table
    neurons = torch.arange(demo.facts.d_mlp or 0)
    old = columns(demo.anatomy.layers[-1].mlp_proj, neurons)  # pyright: ignore[reportArgumentType]
    edit = make_edit(demo, {demo.n_layers - 1: (neurons, 3 * old)})
    save_edit(edit, tmp_path / "edit.safetensors")
    edited = [*GRAPH, "--edit", str(tmp_path / "edit.safetensors"), "--against-unedited"]
    record = json.loads(printed(*edited, "--json", "-"))
    assert (record["edit"]["a"], record["edit"]["b"]["id"]) == (None, edit.id)
    assert printed(*against, "--csv", "-") == found.to_csv()
    for wrong in ([*GRAPH, "--against-unedited"], [*against, "--graphml", "-"]):
        assert run(*wrong).exit_code == 2


def test_prompts_come_from_one_place(tmp_path: Path) -> None:
    file = tmp_path / "prompt.txt"
    file.write_text(PROMPT + "\n", "utf-8")
    from_file = json.loads(printed("graph", "--prompt-file", str(file), "--json", "-"))
    assert from_file["input"] == json.loads(printed(*GRAPH, "--json", "-"))["input"]
    for wrong in (["graph"], [*GRAPH, "--prompt-file", str(file)]):
        result = run(*wrong)
        assert result.exit_code == 2
        assert "prompt" in result.stderr
    assert "cannot be read" in refused(run("graph", "--prompt-file", str(tmp_path / "none")))
    file.write_bytes(b"caf\xe9")
    assert "byte 3 is 0xE9" in refused(run("graph", "--prompt-file", str(file)))


def test_what_a_graph_cannot_be_made_of_is_refused() -> None:
    for wrong, said in (
        (["--root", "9"], "positions"),
        (["--root", "Q1_1"], "no node"),
        (["--root", ""], "no node"),
        (["--target", "x"], 'belong to metric "logit"'),
        (["--max-tokens", "2"], "limit is 2"),
    ):
        assert said in refused(run(*GRAPH, *wrong))
    assert run(*GRAPH, "--threshold", "2").exit_code == 2


def test_roots_are_positions_and_nodes() -> None:
    assert [parsed_root(text) for text in ("-1", "I3_5", "all")] == [-1, "I3_5", "all"]
    assert parsed_root("2,I1_4,-3") == [2, "I1_4", -3]


def test_nothing_in_a_prompt_is_obeyed() -> None:
    hostile = "\x1b]0;title\x07\u202eabc\x00 <script>\u0301 東京"
    for arguments in (["graph", hostile], ["graph", hostile, "--against", "a"]):
        assert_harmless(printed(*arguments))


def test_lines_fit_the_terminal() -> None:
    record = json.loads(printed(*GRAPH, "--threshold", "0", "--json", "-"))
    lines = list(graph_report(record, top=30, columns=90))
    table = next(at for at, line in enumerate(lines) if line.startswith("influence "))
    assert all(width(line) <= 90 for line in lines[table + 1 :])


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    file = tmp_path / "prompts.txt"
    file.write_text(f"{PROMPT}\n\n{OTHER}\r\nTwo plus three is\n", "utf-8")
    return file


def test_statistics_are_those_of_the_core(demo: LoadedModel, prompts: Path, tmp_path: Path) -> None:
    files = [tmp_path / "a.json", tmp_path / "a.csv"]
    table = printed(
        "graph-statistics", str(prompts), "--json", str(files[0]), "--csv", str(files[1])
    )
    wanted = graph_statistics(demo, read_prompts(str(prompts)))
    found = GraphStatistics.from_json(json.loads(files[0].read_text("utf-8")))
    assert found.to_csv() == wanted.to_csv() == files[1].read_text("utf-8")
    first = wanted.component_list()[0]
    line = next(line for line in table.splitlines() if line.startswith("layer "))
    assert line.startswith(f"layer {first['layer']} ")
    assert f"{100 * first['influence']:.1f} %" in line
    assert "3 prompts of " in table


def test_an_interrupted_run_goes_on_where_it_stopped(
    prompts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lens_core.tree import statistics

    rows = tmp_path / "rows.jsonl"
    command = ["graph-statistics", str(prompts), "--out", str(rows), "--json", "-"]
    once = json.loads(printed(*command))
    whole = rows.read_text("utf-8")
    rows.unlink()
    read = statistics._read
    indices: list[int] = []

    def interrupted(*arguments: Any, **options: Any) -> Any:
        indices.append(arguments[2])
        if len(indices) == 2:
            raise KeyboardInterrupt
        return read(*arguments, **options)

    monkeypatch.setattr(statistics, "_read", interrupted)
    stopped = run(*command)
    assert stopped.exit_code == 130
    assert "Stopped after 1 of 3 prompts; the same command goes on" in stopped.stderr
    with rows.open("a", encoding="utf-8") as file:
        file.write('{"index": 1, "sha')
    again = json.loads(printed(*command))
    assert indices == [0, 1, 1, 2]
    for record in (once, again):
        del record["created"], record["timing"]
    assert again == once
    assert rows.read_text("utf-8").splitlines()[1:] == whole.splitlines()[1:]
    json.loads(printed(*command))
    assert indices == [0, 1, 1, 2], "all is known"


def test_rows_of_other_runs_are_refused(prompts: Path, tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    command = ["graph-statistics", str(prompts), "--out", str(rows)]
    printed(*command)
    whole = rows.read_text("utf-8")
    assert "threshold 0.04, and now it is 0.1" in refused(run(*command, "--threshold", "0.1"))
    rows.write_text(re.sub(r'("weights_sha256": )"\w+"', r'\1"other"', whole), "utf-8")
    assert "is of the model" in refused(run(*command))
    rows.write_text(whole.replace('"index":1,', '"index": 1,').replace('"index": 1,', "x"), "utf-8")
    assert "damaged line" in refused(run(*command))
    rows.write_text("notes\n", "utf-8")
    assert "no file of graph-statistics rows" in refused(run(*command))
    assert rows.read_text("utf-8") == "notes\n"
    rows.write_text(whole, "utf-8")
    prompts.write_text(f"{PROMPT}\nAnother one\n", "utf-8")
    assert "Prompt 2 is another one" in refused(run(*command))
    assert "cannot go to" in refused(run(*command[:2], "--out", "-"))


def test_prompts_may_be_added_at_the_end(prompts: Path, tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    command = ["graph-statistics", str(prompts), "--out", str(rows)]
    printed(*command)
    prompts.write_text(prompts.read_text("utf-8") + "One more\n" + "x" * 9999 + "\n", "utf-8")
    table = printed(*command)
    assert "4 prompts of " in table
    assert re.search(r"Left out: prompt 5\. The prompt has \d+ tokens; the limit is", table)
    assert len(rows.read_text("utf-8").splitlines()) == 6


def test_files_of_prompts(tmp_path: Path) -> None:
    records = tmp_path / "a.jsonl"
    records.write_text('{"prompt": "a\\nb"}\n\n{"text": " c ", "n": 1}\n"d"\n', "utf-8")
    assert read_prompts(str(records)) == ["a\nb", " c ", "d"]
    for wrong in ("{}", "nothing", '{"prompt": 3}'):
        records.write_text(f'"a"\n{wrong}\n', "utf-8")
        with pytest.raises(InputError, match="Line 2 of"):
            read_prompts(str(records))
    empty = tmp_path / "b.txt"
    empty.write_text("\n  \n", "utf-8")
    with pytest.raises(InputError, match="has no prompts"):
        read_prompts(str(empty))
    empty.write_bytes(b"\xff")
    with pytest.raises(PromptError, match="0xFF"):
        read_prompts(str(empty))
