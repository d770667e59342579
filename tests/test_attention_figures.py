"""Figures of attention and attribution show the numbers of the result and nothing else."""

from __future__ import annotations

import copy
import html
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from families import IDS, N_LAYERS, loaded
from PIL import Image
from test_figures import HOSTILE, renamed, strings

from lens_core import (
    AttentionViews,
    Attribution,
    Faithfulness,
    attention_rows,
    attention_views,
    attribute,
    faithfulness,
    load_model,
)
from lens_core.errors import InputError
from lens_core.figures import (
    attention_course,
    attention_depth,
    attention_heads,
    attention_tokens,
    attribution_bars,
    faithfulness_strip,
    figure_json,
    save_html,
    save_png,
    style,
)
from lens_core.figures.text import number, percent
from lens_core.models import LoadedModel


@pytest.fixture(scope="module")
def demo() -> LoadedModel:
    return load_model("demo")


@pytest.fixture(scope="module")
def views(demo: LoadedModel) -> AttentionViews:
    return attention_views(demo, demo.tokenize("The capital of France is"))


@pytest.fixture(scope="module")
def scores(demo: LoadedModel) -> Attribution:
    return attribute(demo, demo.tokenize("The capital of France is"), specials=True)


@pytest.fixture(scope="module")
def trust(demo: LoadedModel, scores: Attribution) -> Faithfulness:
    return faithfulness(demo, demo.tokenize("The capital of France is"), scores)


@pytest.fixture
def record(views: AttentionViews) -> dict[str, Any]:
    return copy.deepcopy(views.to_json())


def data_of(figure: Any) -> list[dict[str, Any]]:
    return figure_json(figure)["data"]


def rows_of(figure: Any) -> list[str]:
    return [html.unescape(text) for text in figure_json(figure)["layout"]["yaxis"]["ticktext"]]


def every_figure(views: Any, scores: Any, trust: Any, *, dark: bool = False) -> list[Any]:
    return [
        attention_course(views, 1, before=views, title="<i>T</i>", dark=dark),
        attention_heads(views, 1, title="%{x}", dark=dark),
        attention_heads(views, dark=dark),
        attention_heads(views, quantity="effective_tokens", dark=dark),
        attention_depth(views, dark=dark),
        attention_tokens(views, layer=0, dark=dark),
        attention_tokens(views, layer=0, head=1, importance=scores, join=True, dark=dark),
        attribution_bars(scores, dark=dark),
        faithfulness_strip(trust, dark=dark),
    ]


@pytest.mark.parametrize("source", [0, 3, -1])
def test_the_course_is_mean_and_largest_of_the_heads(views: AttentionViews, source: int) -> None:
    strongest, mean = data_of(attention_course(views, source))
    np.testing.assert_allclose(mean["y"], views.head_mean[:, source], rtol=1e-6)
    assert strongest["y"] == views.head_max[:, source].tolist()
    best = views.rows.rows[:, 0, :, source].argmax(1)
    at = source % views.rows.rows.shape[-1]
    assert strongest["customdata"] == [[layer, int(h), at] for layer, h in enumerate(best)]
    assert all(f"H{head}" in text for head, text in zip(best, strongest["text"], strict=True))
    assert (mean["line"]["dash"], strongest["line"]["dash"]) == ("solid", style.DASHES[1])
    assert mean["line"]["color"] == style.LIGHT.attention


def test_the_course_before_an_edit_is_dashed_and_hollow(record: dict[str, Any]) -> None:
    earlier = copy.deepcopy(record)
    earlier["rows"][0][0][0][1] = 0.75
    traces = data_of(attention_course(record, 1, before=earlier, shaded=[0, 99]))
    found = {(trace["meta"]["line"], trace["meta"]["role"]): trace for trace in traces}
    assert found[1, "before"]["y"][0] == 0.75
    for line in (0, 1):
        assert found[line, "before"]["line"]["dash"] == style.BEFORE
        assert found[line, "before"]["marker"]["color"] == style.LIGHT.panel
        assert found[line, "after"]["marker"]["color"] == style.LIGHT.attention
    for name, change in (
        ("text", {"input": {"ids": [1]}}),
        ("query", {"queries": [2]}),
        ("layers", {"layers": [0]}),
    ):
        with pytest.raises(InputError, match=f"another {name}"):
            attention_course(record, 1, before={**record, **change})


def test_the_scale_of_the_course_holds_its_largest_value(record: dict[str, Any]) -> None:
    for measure in ("weight", "norm"):
        figure = figure_json(attention_course(record, 4, measure=measure))
        low, high = figure["layout"]["yaxis"]["range"]
        values = [y for trace in figure["data"] for y in trace["y"]]
        top = figure["layout"]["yaxis"]["tickvals"][-1]
        assert low < 0 <= max(values) <= top < high
        assert measure == "norm" or top <= 1
    for row in record["rows"]:
        row[0] = [[0.0] * 6 for _ in row[0]]
    assert figure_json(attention_course(record, 4))["layout"]["yaxis"]["tickvals"][-1] == 1


def test_heads_have_the_numbers_of_the_rows(views: AttentionViews) -> None:
    weights = views.rows.rows[:, 0]
    cells = data_of(attention_heads(views, 4))[0]
    np.testing.assert_allclose(cells["z"], weights[..., 4] / weights[..., 4].max(), rtol=1e-6)
    largest = percent(float(weights[..., 4].max()))
    assert html.unescape(cells["colorbar"]["ticktext"][1]) == largest
    assert cells["customdata"][2][3] == [2, 3, 4]
    most = data_of(attention_heads(views))[0]
    np.testing.assert_allclose(most["z"], weights.max(-1) / weights.max(), rtol=1e-6)
    assert [cell[2] for cell in most["customdata"][1]] == weights[1].argmax(-1).tolist()
    assert views.norms is not None
    norms = data_of(attention_heads(views, 1, "norm"))[0]
    np.testing.assert_allclose(
        norms["z"], views.norms[..., 1] / views.norms[..., 1].max(), rtol=1e-6
    )


def test_quantities_of_whole_rows_do_not_depend_on_the_source(views: AttentionViews) -> None:
    spread = views.rows.effective_tokens[:, 0]
    cells = data_of(attention_heads(views, 4, "effective_tokens"))[0]
    np.testing.assert_allclose(cells["z"], (spread - 1) / (spread.max() - 1), rtol=1e-4, atol=1e-6)
    assert cells["colorbar"]["ticktext"] == ["1", number(float(spread.max()), 1)]
    assert cells["meta"]["scale"] == "amount"
    entropy = data_of(attention_heads(views, quantity="entropy"))[0]
    wanted = views.rows.entropy[:, 0]
    np.testing.assert_allclose(entropy["z"], wanted / wanted.max(), rtol=1e-6)
    assert {cell[2] for row in entropy["customdata"] for cell in row} == {None}
    with pytest.raises(InputError, match='quantity is "kl"'):
        attention_heads(views, quantity="kl")


def test_depth_is_the_mean_of_heads_up_to_the_query(demo: LoadedModel) -> None:
    found = attention_views(demo, demo.tokenize("The capital of France is"), query=3)
    cells = data_of(attention_depth(found))[0]
    mean = found.head_mean[:, :4]
    assert np.shape(cells["z"]) == mean.shape, "no column for tokens after the query"
    np.testing.assert_allclose(cells["z"], mean / mean.max(), rtol=1e-6)
    assert cells["customdata"][1][2] == [1, None, 2]
    for draw in (attention_course, attention_heads):
        with pytest.raises(InputError, match="source is 5; position 3 can look at 0 to 3"):
            draw(found, 5)


@pytest.mark.parametrize("head", [None, 2])
def test_bars_are_a_row_and_the_scores(
    views: AttentionViews, scores: Attribution, head: int | None
) -> None:
    figure = attention_tokens(views, layer=-1, head=head, importance=scores)
    attention, needed = data_of(figure)
    row = views.rows.rows[-1, 0].mean(0) if head is None else views.rows.rows[-1, 0, head]
    np.testing.assert_allclose(attention["x"], row, rtol=1e-6)
    assert sum(attention["x"]) == pytest.approx(1.0, abs=1e-5)
    assert needed["x"] == scores.scores.tolist()
    assert attention["text"][1] == percent(attention["x"][1]).replace("%", "&#37;")
    colours = {True: style.LIGHT.raises, False: style.LIGHT.lowers}
    assert needed["marker"]["color"] == [colours[x >= 0] for x in needed["x"]]
    assert rows_of(figure) == ["<|start|>", "The", "·capital", "·of", "·France", "·is"]
    assert attention["customdata"][4] == [5, head, 4]
    layout = figure_json(figure)["layout"]
    title = html.unescape(layout["title"]["text"])
    assert title.startswith(
        f"From “·is”, predicted “·Paris” ({percent(float(views.rows.next.p[0, 0]))})"
    )
    assert "“<|start|>”" in html.unescape(layout["annotations"][0]["text"]), "the sink is named"


def test_bars_sum_to_one_minus_what_learned_sinks_take() -> None:
    found = attention_views(loaded("gpt_oss"), IDS)
    assert found.rows.sink_mass is not None
    for head in (None, 1):
        figure = attention_tokens(found, layer=1, head=head)
        mass = found.rows.sink_mass[1, 0]
        taken = float(mass.mean() if head is None else mass[head])
        assert sum(data_of(figure)[0]["x"]) == pytest.approx(1 - taken, abs=1e-5)
        (note,) = figure_json(figure)["layout"]["annotations"]
        assert percent(taken) in html.unescape(note["text"])


def test_features_of_several_tokens_are_one_row(demo: LoadedModel) -> None:
    ids = demo.tokenize("我爱中国🐉，他")
    found, tokens = attention_views(demo, ids), len(ids)
    split = rows_of(attention_tokens(found, layer=0))
    assert len(split) == tokens
    assert split[1:4] == ["我 ⟨E6⟩", "我 ⟨88⟩", "我 ⟨91⟩"]
    joined = attention_tokens(found, layer=0, join=True)
    assert rows_of(joined) == ["<|start|>", "我", "爱", "中国", "🐉", "，", "他"]
    row = found.head_mean[0]
    bars = data_of(joined)[0]
    np.testing.assert_allclose(bars["x"][1], row[1:4].sum(), rtol=1e-6)
    assert sum(bars["x"]) == pytest.approx(1.0, abs=1e-5)
    by_word = attribute(demo, ids, features="cluster")
    figure = attention_tokens(found, layer=0, importance=by_word)
    assert rows_of(figure) == rows_of(joined)
    assert data_of(figure)[1]["x"] == [None, *by_word.scores.tolist()]
    assert rows_of(attribution_bars(by_word))[:6] == rows_of(joined)[1:]


def test_only_the_longest_bars_are_drawn_and_that_is_said(
    views: AttentionViews, scores: Attribution
) -> None:
    figure = attention_tokens(views, layer=3, importance=scores, most=3)
    assert rows_of(figure) == ["·capital", "·France", "·is"]
    assert "The 3 of 6 rows" in figure_json(figure)["layout"]["annotations"][0]["text"]


def test_what_does_not_fit_together_is_refused(
    demo: LoadedModel, views: AttentionViews, scores: Attribution, record: dict[str, Any]
) -> None:
    other = {**scores.to_json(), "input": {"ids": [1]}}
    with pytest.raises(InputError, match="another text"):
        attention_tokens(views, layer=0, importance=other)
    with pytest.raises(InputError, match="after position 2, the attention is from position 5"):
        attention_tokens(views, layer=0, importance={**scores.to_json(), "query": 2})
    with pytest.raises(InputError, match=r"layer is 6; .* 0, 1, 2, 3, 4, 5"):
        attention_tokens(views, layer=6)
    with pytest.raises(InputError, match="head is 4; layer 0 has heads 0 to 3"):
        attention_tokens(views, layer=0, head=4)
    record["views"] |= {"norms": None, "left_out": {"norms": "weights of a kind without them"}}
    with pytest.raises(InputError, match="no norms: weights of a kind without them"):
        attention_course(record, 1, measure="norm")
    with pytest.raises(InputError, match="no norms"):
        attention_heads(record, quantity="norm")
    with pytest.raises(InputError, match="rows alone"):
        attention_depth(attention_rows(demo, demo.tokenize("The")).to_json())
    for draw in (attention_depth, attribution_bars, faithfulness_strip):
        with pytest.raises(InputError, match="lens_core/graph/1"):
            draw({"schema": "lens_core/graph/1"})
    for draw, of in ((attention_depth, views), (attribution_bars, scores)):
        with pytest.raises(InputError, match="words has"):
            draw(of, words={"x": ""})


def test_layers_without_attention_have_no_row_and_missing_numbers_no_mark(
    record: dict[str, Any], tmp_path: Path
) -> None:
    record["layers"], record["layers_without_attention"] = [0, 2, 3, 4, 5, 7], [1, 6]
    record["rows"][1][0] = [[None] * 6 for _ in range(4)]
    record["views"]["head_mean"][1] = [None] * 6
    record["views"]["entropy"][1] = [None] * 4
    record["model"]["n_layers"] = 8
    figures = [
        attention_heads(record, 4),
        attention_heads(record, quantity="entropy"),
        attention_heads(record),
        attention_depth(record),
    ]
    for figure in figures:
        assert rows_of(figure) == ["L0", "L2", "L3", "L4", "L5", "L7"]
        assert set(data_of(figure)[0]["z"][1]) == {None}
    course = attention_course(record, 4)
    assert data_of(course)[0]["x"] == ["L0", "L2", "L3", "L4", "L5", "L7"]
    assert [trace["y"][1] for trace in data_of(course)] == [None, None]
    bars = attention_tokens(record, layer=2)
    assert set(data_of(bars)[0]["x"]) == {None}
    with pytest.raises(InputError, match=r"layer is 1; .* 0, 2, 3"):
        attention_tokens(record, layer=1)
    for figure in (*figures, course, bars):
        save_png(figure, tmp_path / "figure.png", dpi=40)


def test_one_token_and_one_layer(tmp_path: Path) -> None:
    model = loaded("llama")
    found = attention_views(model, IDS[:1], layers=[N_LAYERS - 1])
    alone = attribute(model, IDS[:1])
    figures = [
        attention_course(found, 0),
        attention_heads(found, 0),
        attention_heads(found, quantity="entropy"),
        attention_heads(found, quantity="effective_tokens"),
        attention_depth(found),
        attention_tokens(found, layer=-1, importance=alone),
        attribution_bars(alone),
    ]
    assert data_of(figures[0])[1]["y"] == [1.0]
    assert data_of(figures[2])[0]["z"] == [[0.0] * 4]
    for figure in figures:
        save_png(figure, tmp_path / "figure.png", dpi=40)


def test_bars_of_an_attribution_with_whiskers_and_sums(
    demo: LoadedModel, scores: Attribution
) -> None:
    bars, sums = data_of(attribution_bars(scores))
    assert bars["x"] == scores.scores.tolist()
    assert "error_x" not in bars
    assert scores.baseline_value is not None
    total, change = float(scores.scores.sum()), scores.value - scores.baseline_value
    assert [text.strip() for text in sums["text"]] == [number(total), number(change)]
    ids = demo.tokenize("The capital of France is")
    sampled = attribute(demo, ids, method="gradient_shap", target=" Paris", foil=" Lagos")
    figure = attribution_bars(sampled)
    assert sampled.standard_errors is not None
    assert data_of(figure)[0]["error_x"]["array"] == sampled.standard_errors.tolist()
    title = html.unescape(figure_json(figure)["layout"]["title"]["text"])
    assert title == "What speaks for “·Paris” over “·Lagos” (gradient SHAP, logits)"


def test_the_strip_has_the_measures_and_the_random_orders(trust: Faithfulness) -> None:
    random, order, notes = data_of(faithfulness_strip(trust))
    names = ("comprehensiveness", "sufficiency", "deletion_area")
    assert order["x"] == [getattr(trust.rankings[0], name) for name in names]
    for i, name in enumerate(names):
        values = [getattr(one, name) for one in trust.random]
        assert random["x"][i] == pytest.approx(np.mean(values))
        assert random["x"][i] + random["error_x"]["array"][i] == pytest.approx(max(values))
        assert random["x"][i] - random["error_x"]["arrayminus"][i] == pytest.approx(min(values))
        beaten = trust.beaten(trust.rankings[0])[name] * len(values)
        assert f"beats {beaten:g} of {len(values)}" in notes["text"][i]


@pytest.mark.parametrize(
    ("share", "count", "word"),
    [
        (1.0, 20, "better"),
        (0.95, 20, "within"),
        (0.0, 20, "worse"),
        (1.0, 18, "too few"),
        (0.99, 200, "better"),
    ],
)
def test_only_what_few_random_orders_reach_is_better_than_chance(
    trust: Faithfulness, share: float, count: int, word: str
) -> None:
    record = trust.to_json()
    record["random"] = [record["random"][0]] * count
    record["can_tell"] = True
    ranking = record["rankings"][0]
    ranking["p_value"] = dict.fromkeys(ranking["beaten"], (1 + count * (1 - share)) / (count + 1))
    ranking["beaten"] = dict.fromkeys(ranking["beaten"], share)
    assert all(word in text for text in data_of(faithfulness_strip(record))[-1]["text"])


def test_every_figure_is_strict_json_and_the_same_from_the_json_form(
    views: AttentionViews, scores: Attribution, trust: Faithfulness
) -> None:
    written = [json.loads(json.dumps(one.to_json())) for one in (views, scores, trust)]
    for made, again in zip(every_figure(views, scores, trust), every_figure(*written), strict=True):
        figure = figure_json(made)
        assert figure == figure_json(again)
        assert json.loads(json.dumps(figure, allow_nan=False)) == figure
        assert "bdata" not in json.dumps(figure)


def test_no_figure_holds_raw_token_text(
    record: dict[str, Any], scores: Attribution, trust: Faithfulness, tmp_path: Path
) -> None:
    hostile = renamed(copy.deepcopy(scores.to_json()), HOSTILE)
    named = trust.to_json()
    named["rankings"][0]["name"] = "<b>%{x}$</b>"
    figures = every_figure(renamed(record, HOSTILE), hostile, named)
    for figure in figures:
        for text in strings(figure_json(figure)):
            bare = re.sub(r"</?b>|<br>|<extra></extra>", "", text)
            assert "<" not in bare
            assert "$" not in bare
            assert set(re.findall(r"%\{[^}]*\}", bare)) <= {"%{hovertext}", "%{meta.word}"}
            assert not re.search(r"[\x00\u200b\u202e]", bare)
        save_png(figure, tmp_path / "figure.png", dpi=40)
    renamed(record, ["<b>"])
    assert rows_of(attention_tokens(record, layer=0)) == ["<b>"] * 6, "it stays text"
    page = save_html(figures, tmp_path / "figures.html").read_text(encoding="utf-8")
    assert "<script>alert" not in page
    assert page.count("Plotly.newPlot(") == len(figures)
    assert not re.search(r"<(script|link)[^>]+(src|href)=", page)


@pytest.mark.parametrize("dark", [False, True])
def test_pictures_have_the_ground_of_the_theme_and_are_not_blank(
    views: AttentionViews, scores: Attribution, trust: Faithfulness, dark: bool, tmp_path: Path
) -> None:
    colours = style.DARK if dark else style.LIGHT
    for figure in every_figure(views, scores, trust, dark=dark):
        image = Image.open(save_png(figure, tmp_path / "figure.png", dpi=60)).convert("RGB")
        pixels = np.asarray(image)
        ground = tuple(bytes.fromhex(colours.panel[1:]))
        assert tuple(pixels[0, 0]) == ground
        assert (pixels != ground).any(-1).mean() > 0.02
    tokens = attention_tokens(views, layer=3, importance=scores, dark=dark)
    picture = np.asarray(Image.open(save_png(tokens, tmp_path / "t.png", dpi=96)).convert("RGB"))
    for shade in (colours.attention, colours.raises):
        assert (picture == tuple(bytes.fromhex(shade[1:]))).all(-1).any()
    # The longest bar of attention ends at its share of its panel, from the middle leftwards.
    layout, bars = figure_json(tokens)["layout"], data_of(tokens)[0]
    (left, right), (far, _) = layout["xaxis"]["domain"], layout["xaxis"]["range"]
    inner = layout["width"] - layout["margin"]["l"] - layout["margin"]["r"]
    pink = (picture == tuple(bytes.fromhex(colours.attention[1:]))).all(-1).any(0).nonzero()[0]
    wide = max(bars["x"]) / far * (right - left) * inner
    assert abs(pink.max() - pink.min() + 1 - wide) <= 2
