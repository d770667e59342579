"""Settings files: the originals' is read as it is, and a wrong one says what is wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pydantic import BaseModel, ConfigDict, ValidationError

from lens_core.errors import SettingsError
from lens_core.settings import Settings, complaint, load_settings

ROOT = Path(__file__).parents[1]
ORIGINAL = {
    "allow_loading_dataset_files": False,
    "max_user_string_length": 100,
    "preloaded_dataset_filename": "sample_input.txt",
    "debug": False,
    "demo_mode": True,
    "models": {"Qwen/Qwen2.5-Coder-0.5B": None, "Qwen/Qwen2.5-Coder-1.5B": None},
    "default_model": "Qwen/Qwen2.5-Coder-0.5B",
}


def written(folder: Path, text: str) -> Path:
    path = folder / "settings.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_the_original_file_is_read_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "sample_input.txt").write_text("One.\n\n二つ目。\n", encoding="utf-8")
    settings = load_settings(written(tmp_path, json.dumps(ORIGINAL)))
    assert settings.max_prompt_chars == 100
    assert settings.allow_dataset_files is False
    assert settings.public, "a demo page takes the listed models only"
    assert settings.default_model == "Qwen/Qwen2.5-Coder-0.5B"
    assert settings.sentences == ["One.", "二つ目。"]
    assert settings.model_names == ["demo", *ORIGINAL["models"]]


def test_the_example_says_the_defaults() -> None:
    example = load_settings(ROOT / "settings.yaml")
    assert example.model_copy(update={"models": {}}) == Settings()


def test_an_empty_file_gives_the_defaults(tmp_path: Path) -> None:
    assert load_settings(written(tmp_path, "")) == Settings()


def test_folders_are_relative_to_the_file(tmp_path: Path) -> None:
    settings = load_settings(written(tmp_path, "models: {mine: checkpoints/mine}"))
    assert settings.models["mine"] == str(tmp_path / "checkpoints/mine")


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("defualt_model: demo", ['Unknown key "defualt_model"', 'mean "default_model"']),
        ("max_tokens: {grap: 3}", ['Unknown key "max_tokens.grap"', 'mean "graph"']),
        ("xyzzy: 1", ['Unknown key "xyzzy"', "Known keys: models, default_model"]),
        ("max_user_string_len: 3", ['mean "max_user_string_length"']),
        ("port: '7860'", ["port", '"7860"', "integer"]),
        ("port: 70000", ["port", "70000", "65535"]),
        ("debug: 1", ["debug", "1", "boolean"]),
        ("language: fr", ["language", '"fr"', "'en'", "'zh'", "'ja'"]),
        ("models: [demo]", ["models", "['demo']", "dictionary"]),
        ("models: {a: 3}", ["models.a", "3", "string"]),
        ("max_tokens: {graph: 0}", ["max_tokens.graph", "0", "greater than or equal to 1"]),
        ("pool_gib: .inf", ["pool_gib", "finite"]),
        ("sentences_file: nowhere.txt", ["nowhere.txt", "no such file"]),
        ("public: true\ndefault_model: gpt2", ['"gpt2"', 'one of "demo"']),
        ("- a\n- b", ["list", "key: value"]),
        ("a: [", ["is not YAML"]),
        ("debug: !!python/name:os.system", ["is not YAML"]),
    ],
)
def test_a_wrong_file_says_what_is_wrong(tmp_path: Path, text: str, parts: list[str]) -> None:
    with pytest.raises(SettingsError) as caught:
        load_settings(written(tmp_path, text))
    for part in parts:
        assert part in str(caught.value)


def test_all_faults_are_said_at_once(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        load_settings(written(tmp_path, "port: x\nlanguage: 3"))
    assert "port" in str(caught.value)
    assert "language" in str(caught.value)


def test_a_value_of_several_types_has_one_fault() -> None:
    class Asked(BaseModel):
        model_config = ConfigDict(strict=True)
        targets: list[int | str]

    with pytest.raises(ValidationError) as caught:
        Asked.model_validate({"targets": [1.5, 2, None]})
    assert complaint(caught.value, Asked) == (
        "targets.0 is 1.5: it must be a valid integer or a valid string. "
        "targets.2 is None: it must be a valid integer or a valid string."
    )


def test_a_missing_or_binary_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"nothing\.yaml cannot be read"):
        load_settings(tmp_path / "nothing.yaml")
    (tmp_path / "settings.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SettingsError, match="cannot be read"):
        load_settings(tmp_path / "settings.yaml")
