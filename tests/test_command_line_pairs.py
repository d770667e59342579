"""The commands about minimal pairs: what they print is what their files say."""

import csv
import io
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fake_endpoint import Body, chat, serving, user_text
from test_command_line import demo, loaded_once, refused, run
from typer.testing import Result

import lens_core.difference
from lens_core import CausalTrace, LayerOperations, PairDifference
from lens_core.cli.pairs_analyze import original_bytes
from lens_core.cli.pairs_layer_report import layer_report
from lens_core.cli.pairs_report import difference_report, problem_report
from lens_core.cli.pairs_trace_report import trace_report
from lens_core.difference import PairStep, set_effect
from lens_core.difference.result import FoundDim
from lens_core.edits import make_edit, save_edit
from lens_core.models import LoadedModel
from lens_core.pairs import make_pairs, read_pairs, write_pairs
from lens_core.patching import AttributionPatching
from lens_core.weights import columns

__all__ = ["demo", "loaded_once"]

pytestmark = pytest.mark.usefixtures("loaded_once")
CAPITALS = ["--sentence1", "The capital of France is", "--sentence2", "The capital of Japan is"]
ANSWERS = ["--answer1", " Paris", "--answer2", " Tokyo"]
TEXTS = (
    "The capital of France is Paris.\n\nThe cat sat on the mat.\nThe capital of Japan is Tokyo.\n"
)


def worked(result: Result) -> str:
    assert result.exit_code == 0, result.output
    return result.stdout


def pairs(*arguments: str) -> Result:
    return run("pairs", *arguments)


def unstyled(lines: Iterator[str]) -> list[str]:
    return [re.sub("\x1b\\[[0-9]*m", "", line) for line in lines]


def record_at(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text("utf-8"))


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 pairs of two types, and a row that is none."""
    path = tmp_path_factory.mktemp("pairs") / "pairs.jsonl"
    write_pairs(make_pairs(["subject_differences", "tense_errors"], n=12), path)
    lines = path.read_text("utf-8").splitlines()
    path.write_text("\n".join([lines[0], '{"sentence1": "x\\u001b[31m"}', *lines[1:]]), "utf-8")
    return path


@pytest.fixture
def analyzed(dataset: Path, tmp_path: Path, loaded_once: None) -> tuple[Path, Result]:
    result = pairs("analyze", "--dataset_path", str(dataset), "--output_dir", str(tmp_path / "a"))
    assert result.exit_code == 0, result.output
    return tmp_path / "a" / "results", result


# make


def test_pairs_are_made_in_both_forms(tmp_path: Path) -> None:
    wanted = ["--num_pairs", "3", "--lang", "zh", "--categories", "negation,typo"]
    lines = worked(pairs("make", "--output_dir", str(tmp_path), *wanted)).splitlines()
    (original,), (own,) = tmp_path.glob("*.json"), tmp_path.glob("*.jsonl")
    assert re.fullmatch(r"sentence_pairs_\d{8}_\d{6}", original.stem)
    made, nested = read_pairs(own), read_pairs(original)
    assert [one.sentence1 for one in made.pairs] == [one.sentence1 for one in nested.pairs]
    assert list(made.pairs) == make_pairs(["negation", "typo"], n=3, lang="zh")
    assert nested.metadata["num_pairs_per_type"] == 3
    assert lines[0] == "6 pairs"
    assert made.pairs[0].sentence1 in lines[2]


def test_lengths_are_reported_and_chosen(tmp_path: Path) -> None:
    where = ["--output_dir", str(tmp_path), "--num_pairs", "5", "--tokenizer", "demo"]
    lines = worked(pairs("make", *where, "--equal-length")).splitlines()
    assert lines[0] == "30 pairs"
    told = "For the tokenizer of demo: 30 of 30 pairs aligned; 30 of equal length"
    assert any(line.startswith(told) for line in lines)


def test_categories_are_listed(tmp_path: Path) -> None:
    lines = worked(pairs("make", "--list", "--lang", "ja", "--output_dir", str(tmp_path)))
    assert "subject_differences" in lines
    assert list(tmp_path.iterdir()) == []


def test_a_local_model_proposes(tmp_path: Path) -> None:
    sentences = tmp_path / "sentences.txt"
    sentences.write_text("The capital of France is Paris.\n", "utf-8")
    given = ["--sentences", str(sentences), "--num_pairs", "2"]
    worked(pairs("make", "--source", "local", *given, "--output_dir", str(tmp_path / "out")))
    (own,) = (tmp_path / "out").glob("*.jsonl")
    found = read_pairs(own).pairs
    assert {one.source for one in found} == {"local"}
    assert len(found) == 2


def test_an_api_is_asked_with_the_key_of_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def model(path: str, body: Body) -> Body:
        assert "negation" in user_text(body)
        rows = [
            {"sentence1": f"The {one} is here.", "sentence2": f"The {one} is not here."}
            for one in ("dog", "cat")
        ]
        return chat(json.dumps({"pairs": rows}))

    monkeypatch.setenv("LENS_API_KEY", "sk-secret-key")
    asked = ["make", "--source", "endpoint", "--model", "m", "--output_dir", str(tmp_path)]
    with serving(model) as served:
        where = [*asked, "--base-url", served.url]
        result = pairs(*where, "--categories", "negation", "--num_pairs", "2")
        assert set(served.keys) == {"Bearer sk-secret-key"}
        shown = pairs(*where, "--api-key", "sk-other")
        assert shown.exit_code == 2
        assert "LENS_API_KEY" in shown.stderr
    assert "2 pairs" in worked(result)
    (own,) = tmp_path.glob("*.jsonl")
    assert "secret" not in result.output + own.read_text("utf-8")


def test_a_reply_without_pairs_is_shown_and_nothing_is_written(tmp_path: Path) -> None:
    asked = ["make", "--source", "endpoint", "--model", "m", "--categories", "negation"]
    with serving(lambda path, body: chat("I would rather not.")) as served:
        where = ["--base-url", served.url, "--output_dir", str(tmp_path), "--num_pairs", "1"]
        assert "I would rather not." in refused(pairs(*asked, *where))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--source", "endpoint"], "needs --base-url"),
        (["--source", "local", "--sentences", "x", "--categories", "typo"], "no category"),
        (["--model", "demo"], "Templates need no model"),
        (["--equal-length"], "give --tokenizer"),
    ],
)
def test_arguments_that_do_not_go_together(arguments: list[str], said: str) -> None:
    result = pairs("make", *arguments)
    assert result.exit_code == 2
    assert said in " ".join(result.stderr.split())


def test_limits_are_named(tmp_path: Path) -> None:
    where = ["--output_dir", str(tmp_path)]
    assert "there are for subject_differences" in refused(
        pairs("make", *where, "--categories", "x")
    )
    assert "n is 9000" in refused(pairs("make", *where, "--num_pairs", "9000"))


# analyze


def test_the_report_says_what_the_json_says(analyzed: tuple[Path, Result], dataset: Path) -> None:
    results, result = analyzed
    record = record_at(results / "pairdiff.json")
    found = PairDifference.from_json(record)
    problems = read_pairs(dataset).problems
    expected = [*problem_report(problems), *unstyled(difference_report(record, top_n=10))]
    assert result.stdout.splitlines() == expected
    assert result.stdout.splitlines()[1].startswith("  line 2: ")
    assert "\x1b" not in result.stdout
    assert (results / "groups.csv").read_text("utf-8") == found.to_csv()
    assert len(found.pairs) == 24
    assert any("aligned" in line for line in expected)
    assert [line.split()[0] for line in expected if line.startswith("  layer_")] == [
        f"layer_{layer}" for layer in range(6)
    ]


def test_the_originals_files_are_written(analyzed: tuple[Path, Result]) -> None:
    results, _ = analyzed
    (every,) = results.glob("activation_results_*.json")
    (minimal,) = results.glob("minimal_diff_dimensions_*.json")
    assert "diff_token_type" in record_at(every)
    assert "grammatical_errors" in record_at(minimal)
    found = PairDifference.from_json(record_at(results / "pairdiff.json"))
    assert 0.5 < original_bytes(found) / every.stat().st_size < 2


def test_options_reach_the_run(dataset: Path, tmp_path: Path, demo: LoadedModel) -> None:
    path = tmp_path / "edit.safetensors"
    neurons = torch.arange(2)
    old = columns(demo.anatomy.layers[1].mlp_proj, neurons)  # pyright: ignore[reportArgumentType]
    save_edit(make_edit(demo, {1: (neurons, 3 * old)}), path)
    chosen = ["--layer_indices", "0,-1", "--components", "resid_post,mlp_out", "--no-lens"]
    chosen += ["--readout", "edit", "--max-pairs", "7", "--no-original", "--seed", "3"]
    where = ["--dataset_path", str(dataset), "--output_dir", str(tmp_path)]
    out = worked(pairs("analyze", *where, *chosen, "--no-control", "--edit", str(path)))
    record = record_at(tmp_path / "results" / "pairdiff.json")
    assert record["sites"] == ["embed", "layer_0", "mlp_out_0"]
    assert (len(record["pairs"]), record["readout"], record["seed"]) == (7, "edit", 3)
    assert record["edit"]["strength"] == 1.0
    assert record["control"] is None
    assert list((tmp_path / "results").glob("activation*")) == []
    assert "too few" in out


def test_figures_and_the_effect_of_sets(dataset: Path, tmp_path: Path) -> None:
    where = ["--dataset_path", str(dataset), "--output_dir", str(tmp_path), "--max-pairs", "2"]
    out = worked(pairs("analyze", *where, "--visualize", "--top_n", "3", "--set-effect"))
    assert (tmp_path / "figures" / "layer_statistics" / "layer_statistics.png").is_file()
    assert len(list((tmp_path / "figures").rglob("pair_*_heatmap.png"))) == 2
    assert out.splitlines()[-1].startswith("Set effect: no dims")
    assert not (tmp_path / "results" / "set_effect.json").exists()


def test_dims_that_were_found_are_held(demo: LoadedModel, tmp_path: Path) -> None:
    from lens_core.cli import pairs_analyze
    from lens_core.difference import pair_difference

    some = make_pairs(["tense_errors"], n=4)
    result = pair_difference(demo, some, layers=[2], lens=False)
    numbers = {name: 0.01 for name in ("hit_rate", "rho", "rho_lo", "rho_hi", "p", "q")}
    found = [
        FoundDim(site, dim, **numbers, hit_rate_a=0.5, hit_rate_b=None, mean1=0.0, mean2=0.0)
        for site, dim in (("layer_2", 5), ("layer_2", 1))
    ]
    options = {"seed": 0, "max_tokens": None, "template": None, "special": "default"}
    effects = pairs_analyze._effects(demo, some, replace(result, found=tuple(found)), options)
    expected = set_effect(demo, some, 2, [5, 1])
    assert [one.dims.tolist() for one in effects] == [expected.dims.tolist()]
    np.testing.assert_allclose(effects[0].kl_change, expected.kl_change)
    written: list[Path] = []
    pairs_analyze._keep_effects(effects, tmp_path, written)
    records = record_at(written[0])["effects"]
    record = replace(result, found=tuple(found)).to_json()
    lines = unstyled(difference_report(record, top_n=1, effects=records))
    assert lines[-1].startswith("Set effect, layer 2, 2 dims held at their mean")
    assert "  and 1 more in the JSON" in lines


def test_a_large_original_is_left_out_and_said(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lens_core.cli.pairs_analyze.LARGE", 1000)
    where = ["--dataset_path", str(dataset), "--output_dir", str(tmp_path), "--max-pairs", "1"]
    told = worked(pairs("analyze", *where, "--no-lens")).splitlines()[-1]
    assert "pairs plot --original" in told
    assert list(tmp_path.rglob("activation*")) == []
    worked(pairs("plot", "--results_dir", str(tmp_path), "--plot_type", "layers", "--original"))
    assert len(list(tmp_path.rglob("activation_results_*.json"))) == 1


def test_a_stopped_run_leaves_the_earlier_one_and_goes_on(
    analyzed: tuple[Path, Result], dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results, _ = analyzed
    before = {path.name: path.read_bytes() for path in results.iterdir()}
    steps = lens_core.difference.pair_difference_steps

    def stopped(*arguments: Any, **options: Any) -> Iterator[PairStep | PairDifference]:
        yield next(iter(steps(*arguments, **options)))
        raise KeyboardInterrupt

    where = ["--dataset_path", str(dataset), "--output_dir", str(results.parent), "--no-original"]
    # Windows as small as those of a large model's run are beside its data.
    monkeypatch.setattr("lens_core.difference.collecting.WINDOW", 10)
    with monkeypatch.context() as once:
        once.setattr(lens_core.difference, "pair_difference_steps", stopped)
        result = pairs("analyze", *where, "--seed", "1")
        left = pairs("analyze", *where, "--seed", "1", "--no-resume")
    assert (result.exit_code, left.exit_code) == (130, 130)
    assert "the same command goes on" in result.stderr
    assert "nothing is kept" in left.stderr
    assert {path.name: path.read_bytes() for path in results.glob("*.*")} == before
    assert len(list((results / "windows").glob("*.npz"))) == 1
    worked(pairs("analyze", *where, "--seed", "1"))
    resumed = record_at(results / "pairdiff.json")
    worked(pairs("analyze", *where, "--seed", "1", "--no-resume"))
    whole = record_at(results / "pairdiff.json")
    for record in (resumed, whole):
        del record["created"], record["timing"]
    assert resumed == whole
    assert not (results / "windows").exists()


def test_errors_of_analyze_are_one_line(dataset: Path, tmp_path: Path) -> None:
    where = ["analyze", "--output_dir", str(tmp_path), "--dataset_path"]
    good = [*where, str(dataset)]
    bad = tmp_path / "bad.jsonl"
    bad.write_text('{"sentence1": "a"}\n', "utf-8")
    assert "None of the 1 rows" in refused(pairs(*where, str(bad)))
    assert "cannot be read" in refused(pairs(*where, str(tmp_path / "none.json")))
    assert "threshold is 0.0" in refused(pairs(*good, "--threshold", "0"))
    assert "Add resid_post" in refused(pairs(*good, "--components", "mlp_out", "--visualize"))
    both = pairs(*good, "--load_in_8bit", "--load_in_4bit")
    assert both.exit_code == 2
    assert "Give one of" in both.stderr


# plot


def test_a_finished_comparison_is_drawn(analyzed: tuple[Path, Result], tmp_path: Path) -> None:
    results, _ = analyzed
    out = tmp_path / "out"
    chosen = ["--plot_type", "bar,scatter,profile", "--sites", "layer_0", "--pairs", "1"]
    worked(pairs("plot", "--results_dir", str(results.parent), *chosen, "--output_dir", str(out)))
    names = {path.name for path in out.rglob("*.*")}
    assert names == {
        *("pair_0_top_minimal_dims.png", "pair_0_top_minimal_dims_table.png"),
        *("layer_statistics.png", "scatter_layer_0.png", "profile_layer_0.png"),
        "pair_differences.html",
    }


def test_errors_of_plot(analyzed: tuple[Path, Result], tmp_path: Path) -> None:
    results, _ = analyzed
    assert "let that end first" in refused(pairs("plot", "--results_dir", str(tmp_path)))
    chosen = ["--results_dir", str(results), "--plot_type", "scatter", "--sites", "layer_9"]
    assert 'site is "layer_9"' in refused(pairs("plot", *chosen))
    (results / "pairdiff.json").write_text('{"schema"', "utf-8")
    assert "is no finished comparison" in refused(pairs("plot", "--results_dir", str(results)))
    assert pairs("plot", "--plot_type", "pie").exit_code == 2


# patch


def test_a_trace_is_reported_and_written(tmp_path: Path) -> None:
    files = {name: tmp_path / f"out.{name}" for name in ("json", "csv", "png", "html")}
    options = [part for name, file in files.items() for part in (f"--{name}", str(file))]
    lines = worked(pairs("patch", *CAPITALS, *ANSWERS, *options)).splitlines()
    record = record_at(files["json"])
    trace = CausalTrace.from_json(record)
    assert lines == unstyled(trace_report(record, columns=100))
    assert any("·France|·Japan" in line for line in lines)
    top = next(line for line in lines if line.startswith("  L5")).split()
    assert top == ["L5", "0.00", "1.00"]
    rows = list(csv.DictReader(io.StringIO(files["csv"].read_text("utf-8"))))
    assert len(rows) == sum(grid.effect.size for grid in trace.grids)
    last = [row for row in rows if row["component"] == "resid_post" and row["layer"] == "5"]
    assert float(last[-1]["effect"]) == pytest.approx(0, abs=1e-5)
    assert files["png"].stat().st_size > 1000
    assert files["html"].stat().st_size > 1000


def test_estimates_and_pairs_of_a_file(dataset: Path) -> None:
    chosen = ["--dataset_path", str(dataset), "--pair", "1", "--answer1", " a", "--answer2", " b"]
    chosen += ["--components", "resid_post", "--approximate", "--json", "-"]
    record = json.loads(worked(pairs("patch", *chosen)))
    found = AttributionPatching.from_json(record)
    second = read_pairs(dataset).pairs[1]
    assert record["input"]["pair"]["sentence1"] == second.sentence1
    assert [grid.component for grid in found.grids] == ["resid_post"]


def test_options_of_the_trace() -> None:
    chosen = ["--direction", "noise", "--window", "3", "--components", "mlp-out".replace("-", "_")]
    chosen += ["--positions=-1", "--noise", "3", "--noise_samples", "2", "--metric", "log_p"]
    record = json.loads(worked(pairs("patch", *CAPITALS, *ANSWERS, *chosen, "--json", "-")))
    (grid,) = record["grids"]
    assert (grid["direction"], grid["window"], len(grid["columns"])) == ("noise", 3, 1)
    assert (record["noise"]["samples"], record["contrast"]["metric"]) == (2, "log_p")


def test_an_undefined_effect_is_said() -> None:
    same = ["--sentence1", "The cat", "--sentence2", "The cat"]
    assert "nothing was patched" in worked(pairs("patch", *same))


def test_errors_of_patch(dataset: Path) -> None:
    assert "window is 2" in refused(pairs("patch", *CAPITALS, "--window", "2"))
    missing = ["--dataset_path", str(dataset), "--pair", "99"]
    assert "has pairs 0 to 23 (1 other rows are none)" in refused(pairs("patch", *missing))
    for arguments in (CAPITALS[:2], [*CAPITALS, "--pair", "1"], []):
        assert pairs("patch", *arguments).exit_code == 2
    given = pairs("patch", *CAPITALS, "--approximate", "--noise", "3")
    assert "Estimates are of denoising" in " ".join(given.stderr.split())


# layerops


def test_layers_are_removed_and_scored(tmp_path: Path) -> None:
    texts = tmp_path / "texts.txt"
    texts.write_text(TEXTS, "utf-8")
    where = ["--dataset_path", str(texts), "--output_dir", str(tmp_path)]
    chosen = ["--experiment", "removal", "--layers", "0,1", "--max_samples", "2", "--visualize"]
    lines = worked(pairs("layerops", *where, *chosen)).splitlines()
    record = record_at(tmp_path / "results" / "layerops.json")
    found = LayerOperations.from_json(record)
    assert lines == unstyled(layer_report(record))
    assert [score.name for score in found.scores] == ["original", "remove 0", "remove 1"]
    assert len(found.texts) == 2
    table = (tmp_path / "results" / "layerops.csv").read_text("utf-8")
    rows = list(csv.DictReader(io.StringIO(table)))
    assert float(rows[1]["nll"]) == found.scores[1].nll
    (exported,) = (tmp_path / "results" / "removal").rglob("ppl.json")
    assert set(record_at(exported)["removed"]) == {"layer_0", "layer_1"}
    assert list(tmp_path.rglob("pos_transition_heatmap_ja.png"))
    assert (tmp_path / "figures" / "layer_change.html").is_file()


def test_other_operations_and_errors(tmp_path: Path) -> None:
    texts = tmp_path / "texts.jsonl"
    texts.write_text('{"text": "The cat sat on the mat."}\n', "utf-8")
    where = ["layerops", "--dataset_path", str(texts), "--output_dir", str(tmp_path)]
    operations = ["--operations", "repeat,zero_mlp", "--layers", "2", "--no-tokens"]
    out = worked(pairs(*where, *operations))
    assert record_at(tmp_path / "results" / "layerops.json")["tokens"] is None
    assert "zero_mlp 2" in out
    assert "operation is 'fold'" in refused(pairs(*where, "--operations", "fold"))
    both = pairs(*where, "--operations", "repeat", "--experiment", "removal")
    assert both.exit_code == 2


def test_both_spellings_of_every_option_are_known() -> None:
    for command in ("make", "analyze", "plot", "patch", "layerops"):
        help_text = worked(pairs(command, "--help"))
        assert not re.search(r"--\w+_\w+ ", help_text)
    assert (
        pairs("make", "--num-pairs", "0").exit_code == pairs("make", "--num_pairs", "0").exit_code
    )


def test_models_are_laid_together(tmp_path: Path) -> None:
    texts = tmp_path / "texts.txt"
    texts.write_text("\n".join(f"The capital of {x} is here." for x in "ABCDEFGHIJ"), "utf-8")
    options = ["--dataset_path", str(texts), "--experiment", "removal", "--visualize"]
    worked(pairs("layerops", *options, "--output_dir", str(tmp_path / "one")))
    (found,) = tmp_path.rglob("pos_tag_ppl_analysis.json")
    both = ["--json_files", str(found), "--json_files", str(found)]
    out = tmp_path / "both"
    worked(pairs("compare", *both, "--experiment", "removal", "--output_dir", str(out)))
    assert {path.suffix for path in (out / "figures").iterdir()} == {".png"}
    assert len(list((out / "figures").glob("pos_tag_comparison_removal_*"))) == 2
