"""The command line: what it prints is what the JSON says, and nothing a prompt holds is obeyed."""

import base64
import json
import re
import shutil
import subprocess
import sys
import unicodedata
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner, Result

import lens_core.loading
from lens_core import LogitLens, load_model
from lens_core.cli import app
from lens_core.cli.lens_report import entries, grid_cell, lens_report, per_cent
from lens_core.cli.output import prompt_text
from lens_core.cli.terminal import ending, harmless, padded, shortened, token_label, width, wrapped
from lens_core.edits import make_edit, save_edit
from lens_core.errors import PromptError
from lens_core.models import LoadedModel
from lens_core.weights import columns

ROOT = Path(__file__).parents[1]
PROMPT = "The capital of France is"
LENS = ["logit-lens", PROMPT, "--model", "demo"]


@pytest.fixture(scope="module")
def demo() -> LoadedModel:
    return load_model("demo")


@pytest.fixture
def loaded_once(demo: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands get the model of this module instead of loading it again."""

    def load(name: str, **options: Any) -> LoadedModel:
        assert name == "demo"
        return demo

    monkeypatch.setattr(lens_core.loading, "load_model", load)


def run(*arguments: str, stdin: bytes | None = None) -> Result:
    return CliRunner().invoke(app, list(arguments), input=stdin)


def refused(result: Result) -> str:
    """The one line of an error that the user can put right."""
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1
    assert result.stderr.startswith("Error: ")
    return result.stderr


def python(*arguments: str | bytes) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )


def lens_json(*options: str) -> dict[str, Any]:
    result = run(*LENS, *options, "--json", "-")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_help_loads_no_model_stack() -> None:
    code = (
        "import sys; from lens_core.cli import app; app(['--help'], standalone_mode=False);"
        "print([m for m in ('torch', 'transformers', 'gradio', 'numpy') if m in sys.modules])"
    )
    done = python("-c", code)
    assert "logit-lens" in done.stdout
    assert done.stdout.splitlines()[-1] == "[]", done.stderr


@pytest.mark.slow
def test_a_process_writes_table_and_json(tmp_path: Path) -> None:
    """The command of the README, and an error, each in a process of its own."""
    target = tmp_path / "out.json"
    done = python("-m", "lens_core", *LENS, "--json", str(target))
    assert done.returncode == 0, done.stderr
    assert "Important layers" in done.stdout
    assert "\x1b" not in done.stdout
    record = json.loads(target.read_text("utf-8"))
    assert LogitLens.from_json(record).to_json() == record
    wrong = python("-m", "lens_core", "logit-lens", b"caf\xe9")
    assert wrong.returncode == 2
    assert wrong.stderr == "Error: The prompt is not UTF-8: byte 3 is 0xE9. Convert it to UTF-8.\n"


@pytest.mark.usefixtures("loaded_once")
def test_the_table_shows_what_the_json_says(tmp_path: Path) -> None:
    target = tmp_path / "out.json"
    result = run(*LENS, "--generate", "2", "--k", "3", "--json", str(target))
    assert result.exit_code == 0, result.output
    record = json.loads(target.read_text("utf-8"))
    lines = result.stdout.splitlines()
    assert lines == [
        re.sub(r"\x1b\[\d+m", "", line)
        for line in lens_report(record, columns=shutil.get_terminal_size((100, 24)).columns)
    ]
    position = len(record["input"]["ids"]) - 1
    place = record["positions"].index(position)
    for found in record["important_layers"]["layers"]:
        for component in ("attn_out", "mlp_out", "resid_post"):
            for entry in entries(record, component, found["layer"], place):
                assert entry in result.stdout
    for layer, tokens in enumerate(record["cells"]["resid_post"]["top_ids"]):
        p = record["cells"]["resid_post"]["top_p"][layer][place][0]
        text = token_label(record["vocab"][str(tokens[place][0])])
        row = next(line for line in lines if line.startswith(f"{layer:>7}  "))
        assert row.endswith(grid_cell(text, p))


@pytest.mark.usefixtures("loaded_once")
def test_every_generated_step_is_told() -> None:
    result = run(*LENS, "--generate", "2")
    record = lens_json("--generate", "2")
    assert record["steps"]
    for number, step in enumerate(record["steps"], 1):
        name = token_label(record["vocab"][str(step["id"])])
        title = f'Step {number}: predicted token "{name}" ({per_cent(step["p"][-1])})'
        assert title in result.stdout
        text = "".join(
            token["text"]
            for token in record["input"]["tokens"][: step["position"] + 2]
            if token["kind"] != "special"
        )
        assert f"Current text: {text}" in result.stdout


@pytest.mark.usefixtures("loaded_once")
def test_options_reach_the_lens() -> None:
    record = lens_json(
        *("--k", "2", "--components", "embed,resid_post,mlp_out", "--layers", "0,-1"),
        *("--positions", "-1,-2", "--scale", "local", "--norm", "final", "--target-id", "7"),
        *("--important", "prob", "--threshold", "0.5", "--compat", "--special", "bos"),
        "--divergences",
        *("--generate", "1", "--temperature", "0.7", "--top-p", "0.9", "--top-k", "5"),
        *("--seed", "3", "--track-position", "1"),
    )
    length = len(record["input"]["ids"])
    assert record["lens"]["k"] == 2
    assert record["lens"]["component_scale"] == "local"
    assert record["components"] == ["embed", "resid_post", "mlp_out"]
    assert "js_previous" in record["cells"]["resid_post"]
    assert record["layers"] == [0, record["model"]["n_layers"] - 1]
    assert record["positions"] == [length - 2, length - 1]
    assert [7, 7] in [target["ids"] for target in record["targets"]]
    assert record["important_layers"]["criterion"] == "prob"
    assert record["important_layers"]["threshold"] == 0.5
    assert record["important_layers"]["position"] == 1
    sampling = {"seed": 3, "temperature": 0.7, "top_p": 0.9, "top_k": 5}
    assert record["input"]["sampling"] == sampling


@pytest.mark.usefixtures("loaded_once")
def test_cells_go_to_a_table_and_the_heat_map_to_files(tmp_path: Path) -> None:
    table, picture, page = (tmp_path / name for name in ("a.csv", "a.png", "a.html"))
    result = run(*LENS, "--csv", str(table), "--png", str(picture), "--html", str(page))
    assert result.exit_code == 0, result.output
    assert "Important layers" in result.stdout
    lens = LogitLens.from_json(lens_json())
    assert table.read_text("utf-8") == lens.to_csv()
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert "plotly" in page.read_text("utf-8")
    parts = ("--components", "mlp_out", "--html", str(page))
    assert run(*LENS, *parts, "--csv", "-").stdout.startswith("component,layer,")
    assert "two files" in refused(run(*LENS, "--csv", "-", "--json", "-"))
    assert "cannot go to" in refused(run(*LENS, "--png", "-"))
    assert "is a folder" in refused(run(*LENS, "--html", str(tmp_path)))


@pytest.mark.usefixtures("loaded_once")
def test_a_stride_of_layers_ends_with_the_last(demo: LoadedModel) -> None:
    last = demo.n_layers - 1
    assert lens_json("--layer-step", "2")["layers"] == sorted({*range(0, last + 1, 2), last})
    assert lens_json("--layer-step", "99")["layers"] == [0, last]
    result = run(*LENS, "--layer-step", "2", "--layers", "0")
    assert result.exit_code == 2
    assert "--layers or --layer-step" in result.stderr


@pytest.mark.usefixtures("loaded_once")
def test_an_edit_from_a_file_holds_for_the_run(demo: LoadedModel, tmp_path: Path) -> None:
    neurons = torch.arange(demo.facts.d_mlp or 0)
    old = columns(demo.anatomy.layers[-1].mlp_proj, neurons)  # pyright: ignore[reportArgumentType]
    edit = make_edit(demo, {demo.n_layers - 1: (neurons, 3 * old)})
    save_edit(edit, tmp_path / "edit.safetensors")
    before = lens_json()
    after = lens_json("--edit", str(tmp_path / "edit.safetensors"), "--strength", "0.5")
    assert after["edit"]["id"] == edit.id
    assert after["edit"]["strength"] == 0.5
    assert after["cells"] != before["cells"]
    again = lens_json()
    assert again["cells"] == before["cells"]


@pytest.mark.usefixtures("loaded_once")
def test_the_prompt_can_come_from_standard_input() -> None:
    typed = lens_json()
    piped = run("logit-lens", "-", "--json", "-", stdin=PROMPT.encode() + b"\n")
    assert json.loads(piped.stdout)["input"] == typed["input"]
    assert "byte 1 is 0xFF" in refused(run("logit-lens", "-", stdin=b"a\xff"))


HOSTILE = {
    "spaces": "     ",
    "emoji": "😀👨‍👩‍👧🏳️‍🌈",
    "script": "<script>alert(1)</script>",
    "home": "${HOME} $(id) `id` %PATH%",
    "template": "{{value}} {0} %s \\x1b",
    "right to left": "\u202eabc שלום مرحبا",
    "zero width": "a\u200bb\ufeffc\u00ad",
    "escape": "\x1b[31mred\x1b]0;title\x07\r\x08\x9b2J",
    "nul": "a\x00b",
    "accents": "e\u0301\u0301\u0301",
}


@pytest.mark.usefixtures("loaded_once")
@pytest.mark.parametrize("prompt", HOSTILE.values(), ids=HOSTILE)
def test_nothing_in_a_prompt_is_obeyed(prompt: str) -> None:
    result = run("logit-lens", prompt, "--generate", "1", "--temperature", "5")
    assert result.exit_code == 0, result.output
    assert_harmless(result.stdout)
    shown = re.sub(r"\s+", " ", result.stdout)
    if prompt.isascii() and prompt.isprintable() and prompt.strip():
        assert prompt in shown


def assert_harmless(text: str) -> None:
    """Only line ends and characters that a terminal shows."""
    bad = {char for char in text if unicodedata.category(char) in ("Cc", "Cf", "Cs", "Zl", "Zp")}
    assert bad <= {"\n"}


@pytest.mark.usefixtures("loaded_once")
def test_prompts_that_cannot_be_read_are_refused() -> None:
    assert "empty" in refused(run("logit-lens", ""))
    assert "limit is" in refused(run("logit-lens", "x" * 10_000))
    assert "limit is 3" in refused(run(*LENS, "--max-tokens", "3"))
    assert "one token" in refused(run(*LENS, "--target", "two words here"))
    assert "threshold" in refused(run(*LENS, "--threshold", "nan"))
    assert "component" in refused(run(*LENS, "--components", "resid_post,\x1b[1m"))


def test_models_that_cannot_be_loaded_are_refused(tmp_path: Path) -> None:
    demo = ROOT / "demo_models" / "base"
    pickle, damaged, bare = (tmp_path / name for name in ("pickle", "damaged", "bare"))
    for folder in (pickle, damaged, bare):
        shutil.copytree(demo, folder)
        (folder / "model.safetensors").unlink()
    (pickle / "pytorch_model.bin").write_bytes(b"cos\nsystem\n")
    (damaged / "model.safetensors").write_bytes(b"\x10\0\0\0\0\0\0\0{broken")
    for arguments in (("logit-lens", PROMPT, "--model"), ("check",)):
        assert "pickle" in refused(run(*arguments, str(pickle)))
        assert "damaged" in refused(run(*arguments, str(damaged)))
        assert "no weights" in refused(run(*arguments, str(bare)))
        assert "no folder" in refused(run(*arguments, str(tmp_path / "missing")))
    assert "cannot be read" in refused(run("models", "--settings", str(tmp_path / "none.yaml")))


def test_a_file_that_cannot_be_written_is_refused_at_once(tmp_path: Path) -> None:
    missing = tmp_path / "none" / "out.json"
    for command in (
        ("logit-lens", PROMPT, "--model", "no/such"),
        ("check", "no/such"),
        ("models",),
    ):
        assert "there is no folder" in refused(run(*command, "--json", str(missing)))
        assert "is a folder" in refused(run(*command, "--json", str(tmp_path)))


@pytest.mark.parametrize(
    "wrong",
    [
        ["--k", "0"],
        ["--k", "five"],
        ["--layers", "0,x"],
        ["--scale", "big"],
        ["--generate", "257"],
        ["--dtype", "int8"],
        ["--no-such-option"],
    ],
)
def test_wrong_options_get_the_usual_answer(wrong: list[str]) -> None:
    result = run(*LENS, *wrong)
    assert result.exit_code == 2
    assert "Usage:" in result.stderr
    assert wrong[0] in result.stderr


def test_models_are_listed_without_loading_them(tmp_path: Path) -> None:
    settings = tmp_path / "settings.yaml"
    settings.write_text("models:\n  mine: broken\n  demo: null\n", "utf-8")
    (tmp_path / "broken").mkdir()
    result = run("models", "--settings", str(settings), "--json", "-")
    assert result.exit_code == 0, result.output
    first, second = json.loads(result.stdout)["models"]
    assert (first["name"], first["where"], first["class"]) == (
        "demo",
        "embedded",
        "Qwen2ForCausalLM",
    )
    assert first["parameters"] > 1e6
    assert "config.json" in second["problem"]
    table = run("models", "--settings", str(settings)).stdout
    assert "demo (default)" in table
    assert f"{first['parameters']:,}" in table


@pytest.mark.usefixtures("loaded_once")
def test_check_prints_facts_and_errors(demo: LoadedModel) -> None:
    record = json.loads(run("check", "demo", "--json", "-").stdout)
    assert record["facts"]["n_parameters"] == demo.facts.n_parameters
    table = run("check", "demo").stdout
    assert f"{demo.facts.n_parameters:,}" in table
    assert re.search(rf"heads +exact, off by {demo.self_check.heads_rel_err:.1e}", table)


@pytest.mark.parametrize(
    ("text", "columns"),
    [
        ("abc", 3),
        ("東京", 4),
        ("ｱ", 1),
        ("Ａ", 2),
        ("e\u0301", 1),
        ("한", 2),
        ("\u1112\u1161", 2),
        ("", 0),
    ],
)
def test_widths_are_those_of_a_terminal(text: str, columns: int) -> None:
    assert width(text) == columns
    for room in range(1, 8):
        assert width(padded(text, room)) == room
        assert width(shortened(text * 3, room)) <= room
        assert width(ending(text * 3, room)) <= room


def test_wrapped_items_are_complete_and_fit() -> None:
    items = [f"東{number}" for number in range(9)]
    lines = wrapped(items, 20, head="head ")
    assert " ".join(lines).split() == ["head", *items]
    assert all(width(line) <= 20 for line in lines)


def test_labels_show_every_kind_of_token() -> None:
    def shown(raw: bytes) -> str:
        text = raw.decode("utf-8", errors="replace")
        return token_label({"text": text, "bytes": base64.b64encode(raw).decode()})

    assert shown(b" Paris\n") == "·Paris⏎"
    assert shown("東".encode()[:2]) == "<E6 9D>"
    assert shown("\ufffd".encode()) == "\ufffd"
    assert shown(b"\x1b[2J") == "\\x1b[2J"
    assert shown("\u3000\u202e".encode()) == "\\u3000\\u202e"
    assert shown("\u0301".encode()) == "\u25cc\u0301"
    assert token_label({"text": "<|end|>", "bytes": None}) == "<|end|>"
    assert harmless("a\tb\u2028") == "a\\tb\\u2028"


def test_hostile_words_of_a_record_are_escaped() -> None:
    """Model names, warnings and vocabularies come from files of others."""
    record = json.loads(run(*LENS, "--json", "-").stdout)
    record["model"]["id"] = "\x1b]0;evil\x07"
    record["warnings"] = ["\x1b[31mred"]
    for entry in record["vocab"].values():
        entry |= {"text": "\x1b[2J\u202e東", "bytes": None}
    for token in record["input"]["tokens"]:
        token["text"] = "\x9b2J\r"
    lines = [re.sub(r"\x1b\[(0|1|32)m", "", line) for line in lens_report(record, columns=80)]
    assert_harmless("\n".join(lines))
    assert all(width(line) <= 80 for line in lines[-8:])


def test_prompts_keep_their_spaces() -> None:
    assert prompt_text("  a \n") == "  a \n"
    with pytest.raises(PromptError, match="0xFF"):
        prompt_text("\udcff")
