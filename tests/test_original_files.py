"""Files under the original projects' names and keys: their numbers are those of the model."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from families import D_VOCAB, build, loaded, randomise
from scipy import stats
from test_difference import Item, item, items

from lens_core import InputError, load_model, wrap_model
from lens_core.difference import (
    PairDifference,
    nested_json,
    pair_difference,
    write_original_results,
)
from lens_core.figures import write_comparison, write_layer_figures
from lens_core.figures.file_names import LONGEST, file_name, file_names
from lens_core.figures.original_words import LANGUAGES, WORDS
from lens_core.patching import LayerOperations, layer_operations
from lens_core.patching.operations import KINDS
from lens_core.patching.token_tags import (
    LEAST_TEXTS,
    LEAST_TOKENS,
    tag_analysis,
    token_tags,
    transition_data,
)

STAMP = "20250131_235959"
TYPES = (("grammar", "tense"), ("meaning", "subject"), ("grammar", "article"), ("意味", "主語"))


def typed(count: int) -> list[Item]:
    """Pairs of four subtypes, in turn."""
    return [
        (replace(pair, type=TYPES[i % 4][0], subtype=TYPES[i % 4][1]), alignment)
        for i, (pair, alignment) in enumerate(items(count))
    ]


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> tuple[PairDifference, Path, list[Item]]:
    folder, pairs = tmp_path_factory.mktemp("kept"), typed(9)
    options: dict[str, Any] = {"keep": folder, "lens": False}
    components = ["resid_post", "attn_out", "mlp_out"]
    return pair_difference(loaded("llama"), pairs, components=components, **options), folder, pairs


@pytest.fixture(scope="module")
def hooked(kept: tuple[PairDifference, Path, list[Item]]) -> list[np.ndarray]:
    """What hooks of their own see at the last token after every block, [side, layer, d_model]."""
    model: Any = build("llama")
    seen: list[torch.Tensor] = []

    def keep(module: torch.nn.Module, args: Any, output: Any) -> None:
        seen.append((output if isinstance(output, torch.Tensor) else output[0])[0, -1].detach())

    for block in model.model.layers:
        block.register_forward_hook(keep)
    for _, alignment in kept[2]:
        for ids in (alignment.ids1, alignment.ids2):
            model(torch.tensor([ids]))
    states = torch.stack(seen).numpy().astype(np.float64)
    return list(states.reshape(len(kept[2]), 2, len(model.model.layers), -1))


def numbered(pairs: list[Item]) -> Iterator[tuple[int, str, str, str]]:
    counts: dict[tuple[str, str], int] = {}
    for index, (pair, _) in enumerate(pairs):
        key = (pair.type, pair.subtype)
        yield index, *key, f"pair_{counts.setdefault(key, 0)}"
        counts[key] += 1


def array(layer: dict[str, Any], name: str) -> np.ndarray:
    dims = layer["dimensions"]
    return np.array([dims[f"dim_{dim}"][name] for dim in range(len(dims))])


@pytest.mark.parametrize("normalization", ["none", "l2", "cosine"])
def test_activations_and_differences_are_those_of_the_model(
    kept: tuple[PairDifference, Path, list[Item]],
    hooked: list[np.ndarray],
    tmp_path: Path,
    normalization: str,
) -> None:
    result, folder, pairs = kept
    options: dict[str, Any] = {"normalization": normalization, "threshold": 0.2, "stamp": STAMP}
    paths = write_original_results(result, folder, tmp_path, **options)
    assert [path.name for path in paths] == [
        f"activation_results_{STAMP}.json", f"minimal_diff_dimensions_{STAMP}.json",
    ]  # fmt: skip
    assert sorted(tmp_path.iterdir()) == sorted(paths), "no file is left half written"
    every, minimal = (read(path) for path in paths)
    assert set(every) == {"metadata", "diff_token_type"}
    assert every["metadata"]["layer_indices"] == [0, 1, 2]
    assert {"created_at", "model_name", "device"} <= set(every["metadata"])
    assert list(every["diff_token_type"]) == list(minimal) == ["grammar", "meaning", "意味"]
    assert list(every["diff_token_type"]["grammar"]) == ["tense", "article"]
    found = 0
    for index, kind, subtype, name in numbered(pairs):
        one = every["diff_token_type"][kind][subtype][name]
        pair = pairs[index][0]
        assert one["sentence_pair"] == {"sentence1": pair.sentence1, "sentence2": pair.sentence2}
        assert list(one["layers"]) == ["layer_0", "layer_1", "layer_2"]
        for at, layer in enumerate(one["layers"].values()):
            sides = hooked[index][:, at]
            # Half a unit in the last place of float16 for either side.
            rounding = 2.0**-11 * np.abs(sides) + 1e-6
            if normalization == "l2":
                lengths = np.linalg.norm(sides, axis=1, keepdims=True)
                wanted, bound = sides / lengths, (rounding / lengths).sum(0) + 1e-3
            else:
                wanted, bound = sides, rounding.sum(0)
            for side in (0, 1):
                gap = array(layer, f"sentence{side + 1}_activation") - sides[side]
                assert (np.abs(gap) <= rounding[side]).all()
            difference = array(layer, "activation_diff")
            assert (np.abs(difference - np.abs(wanted[0] - wanted[1])) <= bound).all()
            assert layer["overall_mean_diff"] == pytest.approx(difference.mean())
            assert layer["overall_max_diff"] == difference.max()
            assert layer["overall_min_diff"] == difference.min()
            cosine = sides[0] @ sides[1] / np.linalg.norm(sides, axis=1).prod()
            assert ("overall_cosine_similarity" in layer) == (normalization == "cosine")
            if normalization == "cosine":
                assert layer["overall_cosine_similarity"] == pytest.approx(cosine, abs=1e-3)
                assert layer["overall_cosine_difference"] == pytest.approx(1 - cosine, abs=1e-3)
            small = minimal[kind][subtype][name][f"layer_{at}"]
            assert small == np.flatnonzero(difference < 0.2).tolist()
            found += len(small)
    assert found > 0


def test_layers_come_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    import transformers

    config = transformers.LlamaConfig(
        vocab_size=D_VOCAB, hidden_size=8, intermediate_size=8, num_hidden_layers=11,
        num_attention_heads=2, max_position_embeddings=32,
    )  # fmt: skip
    model = transformers.AutoModelForCausalLM.from_config(config).eval().float()
    randomise(model)
    pairs = [item([4, 5], ([6], [7]), [8])]
    deep = wrap_model(model, None)
    result = pair_difference(deep, pairs, layers=[10, 2, 9], keep=tmp_path, lens=False)
    every, _ = write_original_results(result, tmp_path, tmp_path / "out")
    assert list(read(every)["diff_token_type"][""][""]["pair_0"]["layers"]) == [
        "layer_2", "layer_9", "layer_10",
    ]  # fmt: skip


def test_no_more_than_a_layer_of_a_pair_is_turned_into_text_at_once(
    kept: tuple[PairDifference, Path, list[Item]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sizes: list[int] = []
    in_text = nested_json._text

    def measured(value: Any) -> str:
        text = in_text(value)
        sizes.append(len(text))
        return text

    monkeypatch.setattr(nested_json, "_text", measured)
    result, folder, pairs = kept
    every, _ = write_original_results(result, folder, tmp_path)
    assert max(sizes) < 2 * every.stat().st_size / (len(pairs) * 3)


def test_a_result_that_was_written_and_read_is_as_good(
    kept: tuple[PairDifference, Path, list[Item]], tmp_path: Path
) -> None:
    result, folder, _ = kept
    again = PairDifference.from_json(json.loads(json.dumps(result.to_json())))
    one, two = (
        write_original_results(r, folder, tmp_path / name, stamp=STAMP)
        for name, r in (("a", result), ("b", again))
    )
    assert one[0].read_bytes() == two[0].read_bytes()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"normalization": "l1"}, "normalization is 'l1'; it can be none, l2, cosine"),
        ({"threshold": 0.0}, "threshold is 0.0"),
        ({"threshold": math.nan}, "threshold is nan"),
        ({"stamp": "../../x"}, "stamp is"),
    ],
)
def test_wrong_arguments_are_named(
    kept: tuple[PairDifference, Path, list[Item]],
    tmp_path: Path,
    options: dict[str, Any],
    said: str,
) -> None:
    with pytest.raises(InputError, match=said):
        write_original_results(kept[0], kept[1], tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_states_of_another_comparison_are_refused(
    kept: tuple[PairDifference, Path, list[Item]], tmp_path: Path
) -> None:
    result, folder, pairs = kept
    other = pair_difference(loaded("llama"), pairs[:4], keep=tmp_path, lens=False)
    with pytest.raises(InputError, match="another comparison"):
        write_original_results(other, folder, tmp_path)
    with pytest.raises(InputError, match="another comparison"):
        write_original_results(result, tmp_path, tmp_path)
    with pytest.raises(InputError, match="no kept states"):
        write_original_results(result, tmp_path / "none", tmp_path)
    no_blocks = pair_difference(
        loaded("llama"), pairs[:4], components=["attn_out"], keep=tmp_path, lens=False
    )
    with pytest.raises(InputError, match="no block outputs"):
        write_original_results(no_blocks, tmp_path, tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="Nothing can be written"):
        write_original_results(result, folder, tmp_path / "file")


def test_names_of_files_are_safe_and_never_alike() -> None:
    texts = ["a", "A", "a/b", "a\\b", "..", "../../etc", "", "CON", "nul.txt", "x" * 500, "漢" * 99]
    texts += ["é", "e\u0301", "a b", "a_b", " ", "tab\t", "\x00", ".hidden", "\ud800", "unnamed"]
    names = file_names(texts)
    assert len({name.casefold() for name in names.values()}) == len(texts)
    for text, name in names.items():
        assert 0 < len(name.encode()) <= LONGEST, text
        assert not name.startswith("."), text
        assert not set(name) & set('/\\:*?"<>|\x00 \t'), text
    assert names["a"] == "a"
    assert file_name("意味の違い") == "意味の違い"
    assert file_name("CON") != "CON"
    assert file_name("") == "unnamed"


TEXTS = [
    "The capital of France is Paris.", "The capital of Italy is Rome.", "2 + 3 = 5, and 7.",
    "The cat sat on the mat, and looked at the dog.", "The river in London is the Thames.",
    "Spain has a king; the queen is old.", "Germany is a land in Europe.", "",
    "Water is wet, and fire is hot.", "A house has a door, a roof and two windows.",
]  # fmt: skip


@pytest.fixture(scope="module")
def operations() -> LayerOperations:
    options: dict[str, Any] = {"operations": ["remove", "exchange"], "layers": [0, 1, 5]}
    return layer_operations(load_model("demo"), TEXTS, **options)


def tags_for(result: LayerOperations) -> list[list[str]]:
    """A tag for every token, from its id."""
    return [[("NN", "VB", "")[token % 3] for token in text["ids"]] for text in result.texts]


def test_the_analysis_by_tag_against_its_definition(operations: LayerOperations) -> None:
    table, pos = operations.tokens, tags_for(operations)
    assert table is not None
    found = tag_analysis(operations, "remove", token_tags(operations, pos))
    json.dumps(found, allow_nan=False)
    following = np.array([tag or "OTHERS" for row in pos for tag in row[1:]])
    assert found["meta"]["tags"] == "parts_of_speech"
    assert found["meta"]["counts"] == {
        tag: int((following == tag).sum()) for tag in found["original"]["pos_tags"]
    }
    assert set(found["original"]["pos_tags"]) == {
        tag for tag in following if (following == tag).sum() >= LEAST_TOKENS
    }
    texts = np.repeat(np.arange(len(operations.texts)), np.diff(table.starts))
    tests: dict[tuple[str, str | None], float] = {}
    for variant, key in enumerate(("layer_0", "layer_1", "layer_5"), 1):
        layer = found["layers"][key]
        assert layer["total"] == pytest.approx(math.exp(table.nll[variant].mean(dtype=float)))
        for tag in (None, *found["original"]["pos_tags"]):
            some = np.ones(len(texts), dtype=bool) if tag is None else following == tag
            change = (table.nll[variant].astype(float) - table.nll[0])[some]
            rows = [change[texts[some] == text].mean() for text in np.unique(texts[some])]
            told = layer["total_test"] if tag is None else layer["tests"][tag]
            assert told["n_texts"] == len(rows)
            assert told["mean_change"] == pytest.approx(np.mean(rows))
            oracle: Any = stats.ttest_1samp(rows, 0)
            assert told["p"] == pytest.approx(oracle.pvalue)
            if len(rows) >= LEAST_TEXTS:
                tests[key, tag] = told["p"]
            if tag is not None:
                wanted = math.exp(table.nll[variant][some].mean(dtype=float))
                assert layer["pos_tags"][tag] == pytest.approx(wanted)
    corrected = dict(zip(tests, stats.false_discovery_control(list(tests.values())), strict=True))
    for (key, tag), q in corrected.items():
        layer = found["layers"][key]
        told = layer["total_test"] if tag is None else layer["tests"][tag]
        assert told["q"] == pytest.approx(q)
        marked = [word for word, tags in layer["significant"].items() if tag in tags]
        word = layer["total_verdict"] if tag is None else (marked or [None])[0]
        assert (word is not None) == (q <= 0.05)
        assert word is None or ("degraded" in word) == (told["mean_change"] > 0)


def test_what_changes_in_every_text_is_significant_and_what_does_not_is_not(
    operations: LayerOperations,
) -> None:
    table = operations.tokens
    assert table is not None
    noise = np.random.default_rng(0).normal(0, 0.01, table.nll.shape)
    shifts = np.array([0.0, 1.0, 0.1, -0.1, -1.0, 0.0])[:, None]
    nll = (table.nll[0] + shifts + np.where(shifts, noise, 0.0)).astype(np.float32)
    shifted = replace(operations, tokens=replace(table, nll=nll))
    tags = token_tags(shifted, None)
    found = {
        key: layer["total_verdict"]
        for kind in ("remove", "exchange")
        for key, layer in tag_analysis(shifted, kind, tags)["layers"].items()
    }
    assert found == {
        "layer_0": "largely_degraded", "layer_1": "degraded", "layer_5": "improved",
        "layer_0_with_1": "largely_improved", "layer_1_with_5": None,
    }  # fmt: skip


def test_without_enough_texts_nothing_is_significant(operations: LayerOperations) -> None:
    few = layer_operations(load_model("demo"), TEXTS[:3], operations=["remove"], layers=[0])
    found = tag_analysis(few, "remove", token_tags(few, None))
    layer = found["layers"]["layer_0"]
    assert layer["total"] > found["original"]["total"]
    assert layer["total_verdict"] is None
    assert layer["total_test"]["q"] is None
    assert not any(layer["significant"].values())
    assert found["meta"]["tags"] == "token_kinds"
    assert "no tagger" in found["meta"]["tags_note"]
    with pytest.raises(InputError, match="one tag for every token"):
        token_tags(operations, [["NN"]] * len(operations.texts))
    short = LayerOperations.from_json(operations.to_json(tokens=False))
    with pytest.raises(InputError, match="without the losses"):
        token_tags(short, None)


def test_transitions_against_their_definition(operations: LayerOperations) -> None:
    table = operations.tokens
    assert table is not None
    tags = token_tags(operations, None)
    assert tags.following == table.kinds
    assert tags.current[0] == "(start)"
    assert tags.current[1 : int(table.starts[1])] == table.kinds[: int(table.starts[1]) - 1]
    found = transition_data(operations, "exchange", tags)
    assert list(found["layers"]) == ["original", "layer_0_with_1", "layer_1_with_5"]
    variants = {"original": 0, "layer_0_with_1": 4, "layer_1_with_5": 5}
    current, following = np.array(tags.current), np.array(tags.following)
    cells = 0
    for key, variant in variants.items():
        for a in found["meta"]["current_pos_tags"]:
            for b in found["meta"]["next_pos_tags"]:
                some = (current == a) & (following == b)
                assert found["layers"][key]["count_matrix"][a][b] == some.sum()
                value = found["layers"][key]["ppl_matrix"][a][b]
                if some.any():
                    cells += 1
                    wanted = math.exp(table.nll[variant][some].mean(dtype=float))
                    assert value == pytest.approx(wanted)
                else:
                    assert value is None
    assert cells >= 6


def test_the_files_of_layer_operations(operations: LayerOperations, tmp_path: Path) -> None:
    written = write_layer_figures(operations, tmp_path, data="my data", langs=["ja"])
    names = {path.relative_to(tmp_path).as_posix() for path in written}
    count = len(operations.texts)
    assert names == {
        f"results/{experiment}/demo_my_data_n{count}/{name}"
        for experiment in ("removal", "exchange")
        for name in (
            "ppl.json", "pos_tag_ppl_analysis.json", "pos_transition_data.json", "ppl_ja.png",
            "overall_metrics_ja.png", "pos_tag_ppl_analysis_ja.png",
            "pos_tag_ppl_analysis_significant_ja.png", "pos_transition_heatmap_ja.png",
            "new_errors_by_layer.png",
        )
    }  # fmt: skip
    export = operations.to_original()
    place = tmp_path / "results" / "removal" / f"demo_my_data_n{count}"
    assert read(place / "ppl.json") == {key: export[key] for key in ("original", "removed")}
    assert set(read(place.parents[1] / "exchange" / place.name / "ppl.json")) == {
        "original", "exchanged",
    }  # fmt: skip
    for path in written:
        if path.suffix == ".png":
            assert path.read_bytes().startswith(b"\x89PNG")
    with pytest.raises(InputError, match="lang is 'fr'"):
        write_layer_figures(operations, tmp_path, langs=["fr"])


def test_models_are_told_apart_in_a_comparison(operations: LayerOperations, tmp_path: Path) -> None:
    analysis = tag_analysis(operations, "remove", token_tags(operations, None))
    other = json.loads(json.dumps(analysis))
    other["meta"]["model"] = "org/other"
    files = []
    for name, record in (("a", analysis), ("b", other), ("c", {**other, "meta": {}})):
        files.append(tmp_path / name / "pos_tag_ppl_analysis.json")
        files[-1].parent.mkdir()
        files[-1].write_text(json.dumps(record), encoding="utf-8")
    (english,) = write_comparison(files, tmp_path / "out", langs=["en"])
    start = "pos_tag_comparison_removal_demo_org_other_c"
    assert english.name.startswith(start)
    assert english.name.endswith("_en.png")
    again = write_comparison([files[0], files[0]], tmp_path / "out", langs=["ja"])
    assert again[0].name != english.name
    for said, wrong in (
        ("of the operation", {"experiment": "exchange"}),
        ("experiment is 'swap'", {"experiment": "swap"}),
    ):
        with pytest.raises(InputError, match=said):
            write_comparison(files[:1], tmp_path, **wrong)
    bad = tmp_path / "bad.json"
    for text in ("[]", "{", '{"original": {}, "layers": {"layer_0": {}}}'):
        bad.write_text(text)
        with pytest.raises(InputError, match="no pos_tag_ppl_analysis"):
            write_comparison([bad], tmp_path)


def test_every_word_has_both_languages() -> None:
    for words in WORDS.values():
        assert set(words) == set(WORDS["en"]) >= set(KINDS)
    assert set(WORDS) == set(LANGUAGES)
