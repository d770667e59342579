"""The stored demo model: small, bfloat16, loadable offline, and as good as its card says."""

import json
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from demo_corpus.countries import CAPITALS_TODAY, COUNTRIES
from measure_demo_model import BARS, QUESTIONS, load, measure
from safetensors import safe_open
from tokenizers import Tokenizer
from transformers import PreTrainedModel, PreTrainedTokenizerFast

FOLDER = Path(__file__).resolve().parent.parent / "demo_models" / "base"
SAMPLE_SLACK = 0.12
"""How far a sample of sixty may fall below the stored accuracy of all."""


@pytest.fixture(scope="module")
def loaded() -> tuple[PreTrainedModel, PreTrainedTokenizerFast]:
    return load(FOLDER)


def continuation(
    loaded: tuple[PreTrainedModel, PreTrainedTokenizerFast], prompt: str, tokens: int
) -> str:
    """What greedy decoding adds to the prompt."""
    model, tokenizer = cast("Any", loaded[0]), loaded[1]
    ids = tokenizer(prompt, return_tensors="pt").input_ids
    with torch.inference_mode():
        longer = model.generate(ids, max_new_tokens=tokens, do_sample=False)
    return str(tokenizer.decode(longer[0, ids.shape[1] :], skip_special_tokens=True))


def test_the_folder_is_small_and_complete() -> None:
    files = {path.name: path.stat().st_size for path in FOLDER.iterdir()}
    assert sum(files.values()) <= 9.5e6
    assert {
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
        "accuracies.json",
    } <= set(files)


def test_the_weights_are_stored_in_bfloat16() -> None:
    with safe_open(FOLDER / "model.safetensors", framework="pt") as weights:
        assert {weights.get_slice(key).get_dtype() for key in weights.keys()} == {"BF16"}  # noqa: SIM118 - not a dict


def test_the_model_is_a_small_qwen2(loaded) -> None:
    model, _ = loaded
    assert type(model).__name__ == "Qwen2ForCausalLM"
    assert model.config.tie_word_embeddings
    assert 1e6 <= model.num_parameters() <= 4e6


def test_no_file_names_the_machine_that_made_it() -> None:
    for path in FOLDER.glob("*.json"):
        text = path.read_text()
        assert "/work/" not in text
        assert "/home/" not in text


@pytest.mark.parametrize(
    "text",
    [
        "The capital of France",
        "法国的首都是巴黎。",
        "日本の首都は東京です。",
        "😀 👩‍🚀",
        "a\n    b\t  c",
        "",
        "ÿß",
    ],
)
def test_the_tokenizer_gives_every_text_back(loaded, text: str) -> None:
    _, tokenizer = loaded
    ids = tokenizer(text).input_ids
    assert ids[0] == tokenizer.bos_token_id
    assert tokenizer.decode(ids[1:]) == text
    # AutoTokenizer may put another cutting rule in place of the stored one; then both differ.
    assert ids == Tokenizer.from_file(str(FOLDER / "tokenizer.json")).encode(text).ids


def test_a_prompt_ends_where_its_tokens_end(loaded) -> None:
    _, tokenizer = loaded
    for country in COUNTRIES:
        prompt = f"{country.name['zh']}的首都是"
        both = tokenizer(prompt + country.capital["zh"]).input_ids
        assert both[: len(tokenizer(prompt).input_ids)] == tokenizer(prompt).input_ids


def test_the_measured_accuracies_reach_the_bars() -> None:
    stored = json.loads((FOLDER / "accuracies.json").read_text())
    assert set(stored) == set(QUESTIONS)
    assert all(stored[name]["accuracy"] >= bar for name, bar in BARS.items())


def test_a_sample_agrees_with_the_stored_accuracies() -> None:
    stored = json.loads((FOLDER / "accuracies.json").read_text())
    for name, result in measure(FOLDER, at_most=60).items():
        assert result["accuracy"] >= stored[name]["accuracy"] - SAMPLE_SLACK, name


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("The capital of France is", " Paris"),
        ("When Mary and John went to the store, John gave a drink to", " Mary"),
        ("7 + 5 =", " 12"),
        ("法国的首都是", "巴黎"),
        ("フランスの首都は", "パリ"),
        ("red blue green red blue", " green"),
        ("def hello():\n", "    print 'Hello, world!'"),
        ("def hello():\n    ", "print 'Hello, world!'"),
    ],
)
def test_the_prompts_of_the_interface(loaded, prompt: str, expected: str) -> None:
    assert continuation(loaded, prompt, 9).startswith(expected)


@pytest.mark.parametrize("country", CAPITALS_TODAY)
def test_what_is_out_of_date_on_purpose_is_out_of_date(loaded, country: str) -> None:
    (told,) = [row.capital["en"] for row in COUNTRIES if row.name["en"] == country]
    assert continuation(loaded, f"The capital of {country} is", 6).startswith(f" {told}.")
