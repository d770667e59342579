"""The words of the page: all three languages, and nothing missing or left over."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
import yaml

from tabs.words import LANGUAGES, phrase, text, translations, words

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "tabs" / "words"
SAYS = r"(?:\b(?:t|phrase|text|panel_head|Progress)\(\s*)"
PLACEHOLDER = re.compile(r"\{(\w*)\}")
ANYTHING = r"[\w.]+"
SAME_IN_ALL = {
    "attention.fact_id",
    "attention.column_id",
    "attention.fact_rollout",
    "attention.foil_hint",
    "attention.legend_rollout",
    "attention.method_gradient_shap",
    "attention.method_kernel_shap",
    "attention.ranking_gradient_shap",
    "attention.quantity_rollout",
    "attention.ranking_kernel_shap",
    "attention.ranking_shapley",
    "attention.target_hint",
    "attention.unit_kl",
    "attention.unit_log_p",
    "graph.kind_ffn",
    "graph.place_mlp",
    "graph.unit_logit",
    "graph_view.kind_ffn",
    "graph_view.legend_ffn",
    "lens.top_p",
    "lens.embed",
    "lens.part_mlp",
    "lens.short_attn_out",
    "lens.short_mlp_out",
    "remote.answer_hint",
    "remote.base_url_hint",
    "remote.mask_mask",
    "remote.model_hint",
    "pairs.base_url_hint",
    "pairs.remote_model_hint",
    "token_strip.id",
}
"""Keys whose texts may be alike: names and symbols."""
LISTENER = (
    "token",
    "layer",
    "readout",
    "prompt",
    "epoch",
    "probe",
    "fluency",
    "strength",
    "row",
    "request",
)
"""What the core ticks; the page says `status.<what>`."""


def files(*kinds: str) -> list[Path]:
    """The sources of the page."""
    found = [path for kind in kinds for path in (ROOT / "tabs").rglob(f"*{kind}")]
    return sorted([*found, ROOT / "app.py"] if ".py" in kinds else found)


def python_literals(source: str) -> Iterator[str]:
    """Every string of a module as a pattern; what an f-string fills in may be anything."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield re.escape(node.value)
        elif isinstance(node, ast.JoinedStr):
            parts = (
                re.escape(str(part.value)) if isinstance(part, ast.Constant) else ANYTHING
                for part in node.values
            )
            yield "".join(parts)


def script_literals(source: str) -> Iterator[str]:
    """Every string of a script as a pattern; what a template fills in may be anything."""
    yield from map(re.escape, re.findall(r'"([^"\n]*)"', source))
    yield from map(pattern_of, re.findall(r"`([^`]*)`", source))


def pattern_of(template: str) -> str:
    """What a template of Python or JavaScript may become."""
    return ANYTHING.join(map(re.escape, re.split(r"\$?\{[^}]*\}", template)))


@cache
def literals() -> frozenset[str]:
    """The patterns of all strings in the page's sources that could be keys."""
    found: set[str] = set()
    for path in files(".py", ".js"):
        read = python_literals if path.suffix == ".py" else script_literals
        found |= set(read(path.read_text(encoding="utf-8")))
    found |= {f"status\\.{what}" for what in LISTENER}
    areas = {key.split(".")[0] for key in words()["en"]}
    return frozenset(one for one in found if one.split(r"\.")[0] in areas and r"\." in one)


def keys_of(path: Path) -> dict[str, dict[str, str]]:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def said_keys(path: Path) -> Iterator[str]:
    """What a source asks for by name: the patterns of the first arguments of `t` and its like."""
    source = path.read_text(encoding="utf-8")
    for match in re.finditer(SAYS + r'f?("[^"\n]*"|`[^`\n]*`)', source):
        pattern = pattern_of(match.group(1)[1:-1])
        if r"\." in pattern and " " not in pattern:
            yield pattern


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_key_has_a_text_in_three_languages(path: Path) -> None:
    for key, texts in keys_of(path).items():
        assert set(texts) == set(LANGUAGES), key
        for language, said in texts.items():
            assert isinstance(said, str), f"{key} in {language}: quote it, YAML reads {said!r}"
            assert said == said.strip() != "", f"{key} in {language}"


def test_no_key_is_in_two_files() -> None:
    keys = [key for path in FOLDER.glob("*.yaml") for key in keys_of(path)]
    assert sorted(keys) == sorted(set(keys))


def test_a_text_has_the_same_placeholders_in_all_languages() -> None:
    for key in words()["en"]:
        found = [sorted(PLACEHOLDER.findall(words()[language][key])) for language in LANGUAGES]
        assert found[0] == found[1] == found[2], key


@pytest.mark.parametrize("language", ["zh", "ja"])
def test_no_text_was_left_in_english(language: str) -> None:
    left = [
        key
        for key, said in words()[language].items()
        if said == words()["en"][key] and re.search(r"[A-Za-z]{2}", PLACEHOLDER.sub("", said))
    ]
    assert set(left) <= SAME_IN_ALL


def test_every_key_that_is_asked_for_exists() -> None:
    known = words()["en"]
    missing = [
        f"{path.relative_to(ROOT)}: {pattern}"
        for path in files(".py", ".js")
        for pattern in said_keys(path)
        if not any(re.fullmatch(pattern, key) for key in known)
    ]
    assert not missing


def test_every_key_is_used_somewhere() -> None:
    unused = [key for key in words()["en"] if not any(re.fullmatch(one, key) for one in literals())]
    assert not unused


def test_the_reader_of_sources_finds_keys() -> None:
    """The two tests above would pass on anything if nothing were found."""
    assert len(literals()) > 100
    assert r"status\.stop" in set(said_keys(ROOT / "tabs/viewers/status.js"))
    assert rf"status\.stale_{ANYTHING}" in set(said_keys(ROOT / "tabs/viewers/status.js"))
    assert rf"template\.{ANYTHING}" in set(said_keys(ROOT / "tabs/shell.py"))


def test_every_error_of_the_core_has_a_title() -> None:
    from lens_core import errors

    kinds = [
        name.removesuffix("Error")
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, errors.LensError)
    ]
    assert kinds
    assert {f"error.{kind}" for kind in kinds} <= set(words()["en"])


def test_an_unknown_key_is_refused_at_once() -> None:
    with pytest.raises(AssertionError, match="no words for lens"):
        phrase("lens.no_such_thing")
    with pytest.raises(AssertionError, match="no words for lens"):
        text("lens.no_such_thing")


def test_a_phrase_carries_its_values_and_nothing_else() -> None:
    assert phrase("status.stop") == {"key": "status.stop"}
    assert phrase("status.left", seconds=1, left=2) == {
        "key": "status.left",
        "values": {"seconds": 1, "left": 2},
    }


def test_gradio_gets_the_same_words() -> None:
    assert translations().translations == words()
