"""Figures show the numbers of the result and nothing else, whatever the tokens are called."""

from __future__ import annotations

import copy
import html
import itertools
import json
import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from families import IDS, N_LAYERS, loaded
from PIL import Image

from lens_core import InputError, LogitLens, logit_lens
from lens_core.figures import (
    Line,
    figure_json,
    lens_attribution,
    lens_heatmap,
    lens_ranks,
    lens_trajectories,
    save_html,
    save_png,
    style,
)
from lens_core.figures.fonts import choose_fonts
from lens_core.figures.labels import GAP, pushed_apart
from lens_core.figures.text import cut, escape, number, percent, shown, width

ALL = ["embed", "resid_mid", "resid_post", "attn_out", "mlp_out"]
HOSTILE = [
    '<a href="javascript:alert(1)">x</a>',
    "<b>bold</b><br>",
    "%{x} %{customdata[0]}",
    "&lt;b&gt; &amp; &#60;",
    "$\\frac{1}{0}$",
    "</script><script>alert(1)</script>",
    "a\u202eb\u200bc\x00",
]
VIEWERS = Path(__file__).parents[1] / "tabs" / "viewers"


@pytest.fixture(scope="module")
def result() -> LogitLens:
    return logit_lens(loaded("llama"), IDS, components=ALL, k=4)


@pytest.fixture
def record(result: LogitLens) -> dict[str, Any]:
    return copy.deepcopy(result.to_json())


def renamed(record: dict[str, Any], texts: list[str]) -> dict[str, Any]:
    """The same result where the tokens have these texts, in turn."""
    for entry, text in zip(record["vocab"].values(), itertools.cycle(texts), strict=False):
        entry.update(text=text, bytes=None)
    for token, text in zip(record["input"]["tokens"], itertools.cycle(texts), strict=False):
        token.update(text=text, cluster_text=text)
    return record


def strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from strings(item)
    elif isinstance(value, list):
        for item in value:
            yield from strings(item)


def lines_of(figure: Any) -> dict[tuple[int, str], dict[str, Any]]:
    """The traces by line and role."""
    traces = figure_json(figure)["data"]
    return {(trace["meta"]["line"], trace["meta"]["role"]): trace for trace in traces}


def every_figure(record: Mapping[str, Any]) -> list[Any]:
    ids = record["tracked"][0]["ids"]
    return [
        lens_trajectories(record, [ids[0], ids[1:3], *ids[3:6]], before=record, title="<i>T</i>"),
        lens_heatmap(record, title="%{x}"),
        lens_heatmap(record, "attn_out", "logit"),
        lens_ranks(record),
        lens_attribution(record),
    ]


def test_trajectories_show_the_probabilities_of_the_result(result: LogitLens) -> None:
    tracked = result.tracked[0]
    figure = lens_trajectories(result, [int(token) for token in tracked.ids])
    for row, token in enumerate(tracked.ids):
        trace = lines_of(figure)[row, "only"]
        assert trace["y"] == [float(p) for p in tracked.p[row]]
        assert trace["x"] == ["embed", *(f"L{layer}" for layer in range(N_LAYERS))]
        assert trace["customdata"] == [-1, *range(N_LAYERS)]
        assert trace["name"] == str(token)
        for depth, text in enumerate(trace["text"]):
            assert html.unescape(text).endswith(f"#{tracked.rank[row][depth] + 1}")
            assert html.unescape(text).startswith(percent(float(tracked.p[row][depth])))


def test_a_group_is_the_sum_of_its_members(result: LogitLens) -> None:
    tracked = result.tracked[0]
    ids = [int(token) for token in tracked.ids[:3]]
    trace = lines_of(lens_trajectories(result, [[*ids, ids[0]]]))[0, "only"]
    np.testing.assert_allclose(trace["y"], tracked.p[:3].sum(0), rtol=1e-6)
    np.testing.assert_allclose(trace["y"], tracked.group(ids), rtol=1e-6)
    assert trace["name"] == " + ".join(map(str, ids))
    assert trace["text"][0].count("<br>") == len(ids), "every member with its own rank"


def test_before_is_dashed_and_hollow_and_after_solid_and_filled(
    result: LogitLens, record: dict[str, Any]
) -> None:
    edited = copy.deepcopy(record)
    edited["tracked"][0]["p"]["resid_post"][0][-1] = 0.125
    token = record["tracked"][0]["ids"][0]
    traces = lines_of(lens_trajectories(edited, [token], before=result))
    before, after = traces[0, "before"], traces[0, "after"]
    assert after["y"][-1] == 0.125
    assert before["y"][-1] == float(result.tracked[0].p[0][-1])
    assert (before["line"]["dash"], after["line"]["dash"]) == (style.BEFORE, "solid")
    assert before["marker"]["color"] == style.LIGHT.panel
    assert after["marker"]["color"] == before["line"]["color"] == style.LIGHT.series[0]
    assert before["hovertemplate"].endswith("%{meta.word}<extra></extra>")


def test_series_differ_by_colour_and_dash_and_the_rest_is_grey(result: LogitLens) -> None:
    ids = [int(token) for token in result.tracked[0].ids[:6]]
    traces = lines_of(lens_trajectories(result, ids))
    looks = [traces[i, "only"]["line"] for i in range(6)]
    assert len({(look["color"], look["dash"]) for look in looks[:4]}) == 4
    assert [look["dash"] for look in looks[:4]] == list(style.DASHES)
    assert {look["color"] for look in looks[4:]} == {style.LIGHT.stream}
    kept = lines_of(lens_trajectories(result, [Line((ids[0],), 3), Line((ids[1],), None)]))
    assert kept[0, "only"]["line"]["color"] == style.LIGHT.series[2]
    assert kept[1, "only"]["mode"] == "lines"


def test_labels_stand_at_the_ends_and_apart(result: LogitLens) -> None:
    ids = [int(token) for token in result.tracked[0].ids[:8]]
    layout = figure_json(lens_trajectories(result, ids))["layout"]
    room = layout["height"] - layout["margin"]["t"] - layout["margin"]["b"]
    low, high = layout["yaxis"]["range"]
    places = [
        (label["y"] - low) / (high - low) * room + label["yshift"]
        for label in layout["annotations"]
    ]
    assert len(places) == 8
    assert all(b - a >= GAP - 0.2 for a, b in itertools.pairwise(places))
    assert {label["x"] for label in layout["annotations"]} == {N_LAYERS}
    assert min(places) >= 0
    assert max(places) <= room + GAP


@pytest.mark.parametrize("seed", range(20))
def test_pushing_apart_keeps_order_gap_and_room_and_moves_no_more_than_needed(seed: int) -> None:
    random = np.random.default_rng(seed)
    wanted = sorted(random.uniform(0, 200, size=random.integers(1, 9)).tolist())
    places = pushed_apart(wanted, 15.0, 0.0, 200.0)
    assert all(b - a >= 15 - 1e-9 for a, b in itertools.pairwise(places))
    assert places[0] >= 0
    assert places[-1] <= 200 + 1e-9
    far = [float(1000 * i) for i in range(4)]
    assert pushed_apart(far, 15.0, 0.0, 5000.0) == far
    assert pushed_apart([10.0, 10.0], 15.0, -100.0, 100.0) == [2.5, 17.5]


def test_no_lines_draw_an_empty_frame(result: LogitLens) -> None:
    figure = figure_json(lens_trajectories(result, []))
    assert figure["data"] == []


def test_a_token_that_was_not_tracked_is_named(result: LogitLens) -> None:
    missing = next(i for i in range(97) if i not in result.tracked[0].ids)
    with pytest.raises(InputError, match=rf"Token {missing} .* targets"):
        lens_trajectories(result, [missing])
    with pytest.raises(InputError, match="no token"):
        lens_trajectories(result, [[]])
    with pytest.raises(InputError, match="series 5"):
        lens_trajectories(result, [Line((int(result.tracked[0].ids[0]),), 5)])
    with pytest.raises(InputError, match="No position 0 was tracked"):
        lens_trajectories(result, [3], position=0)


def test_the_heat_map_has_the_numbers_of_the_cells(result: LogitLens) -> None:
    cells, text = figure_json(lens_heatmap(result))["data"]
    np.testing.assert_allclose(cells["z"][0], result.cells["embed"].max_p[0])
    np.testing.assert_allclose(cells["z"][1:], result.max_p)
    assert cells["customdata"][1][2] == [0, 2, int(result.top_ids[0, 2, 0])]
    assert cells["customdata"][0][0][0] == -1
    assert len(text["x"]) == (1 + N_LAYERS) * len(IDS)
    assert (cells["zmin"], cells["zmax"]) == (0, 1)


@pytest.mark.parametrize(
    ("quantity", "field"), [("entropy", "entropy"), ("kl", "kl_final"), ("target", "target_p")]
)
def test_other_quantities_are_shares_of_their_legend(
    result: LogitLens, quantity: str, field: str
) -> None:
    cells = figure_json(lens_heatmap(result, "resid_mid", quantity))["data"][0]
    values = getattr(result.cells["resid_mid"], field)
    high = 1 if quantity == "target" else values.max()
    np.testing.assert_allclose(cells["z"], values / high, rtol=1e-6)


def test_rank_one_is_the_darkest_and_the_last_rank_the_lightest(result: LogitLens) -> None:
    cells = figure_json(lens_heatmap(result, quantity="rank"))["data"][0]
    ranks = np.concatenate([result.cells["embed"].target_rank, result.target_rank])
    shares = np.array(cells["z"])
    assert (shares[ranks == 0] == 1).all()
    np.testing.assert_allclose(shares[ranks == ranks.max()], 0, atol=1e-9)
    assert cells["colorbar"]["ticktext"] == [str(ranks.max() + 1), "1"]


def test_what_parts_add_is_signed_and_never_a_probability(result: LogitLens) -> None:
    cells = figure_json(lens_heatmap(result, "mlp_out", "logit"))["data"][0]
    logits = result.cells["mlp_out"].top_logit[..., 0]
    np.testing.assert_allclose(cells["z"], 0.5 + 0.5 * logits / np.abs(logits).max(), rtol=1e-6)
    assert cells["meta"]["scale"] == "signed"
    with pytest.raises(InputError, match="attn_out has no probability"):
        lens_heatmap(result, "attn_out")
    with pytest.raises(InputError, match='quantity is "p"'):
        lens_heatmap(result, quantity="p")


def test_ranks_show_four_rows_a_layer_with_both_scales(result: LogitLens) -> None:
    figure = figure_json(lens_ranks(result, -1))
    labels = figure["layout"]["yaxis"]["ticktext"]
    assert labels[0] == "embed"
    assert labels[1:5] == [
        "L0 attention adds",
        "L0 after attention",
        "L0 MLP adds",
        "L0 block output",
    ]
    assert len(labels) == 1 + 4 * N_LAYERS
    probability, logits = (t for t in figure["data"] if t["type"] == "heatmap")
    np.testing.assert_allclose(probability["z"][4], result.top_p[0, -1])
    assert probability["z"][1] == [None] * 4
    assert logits["z"][4] == [None] * 4
    texts = [text for row in logits["text"] for text in row if text]
    assert all(re.search(r"[+−]\d+\.\d$", text) for text in texts)
    assert logits["customdata"][1][0] == [0, 6, int(result.cells["attn_out"].top_ids[0, -1, 0])]


def test_important_only_keeps_the_layers_of_the_result(result: LogitLens) -> None:
    assert result.important_layers is not None
    kept = {item["layer"] for item in result.important_layers.layers}
    labels = figure_json(lens_ranks(result, important_only=True))["layout"]["yaxis"]["ticktext"]
    assert {int(label.split()[0][1:]) for label in labels} == kept
    with pytest.raises(InputError, match="important layers at position 0"):
        lens_ranks(result, 0, important_only=True)
    with pytest.raises(InputError, match="Position 7 was not read"):
        lens_ranks(result, 7)


def test_attribution_bars_and_their_sums(result: LogitLens) -> None:
    found = result.attribution
    assert found is not None
    bars, sums = figure_json(lens_attribution(result))["data"]
    parts = [found.embed, *itertools.chain(*zip(found.attn, found.mlp, strict=True))]
    np.testing.assert_allclose(bars["x"][: len(parts)], parts, rtol=1e-6)
    assert math.fsum(bars["x"]) == pytest.approx(found.total, abs=1e-4)
    assert [text.strip() for text in sums["text"]] == [number(found.total), number(found.logit)]
    colours = {True: style.LIGHT.raises, False: style.LIGHT.lowers}
    assert bars["marker"]["color"] == [colours[value >= 0] for value in bars["x"]]


def test_every_figure_is_strict_json_and_the_same_from_the_json_form(result: LogitLens) -> None:
    ids = [int(token) for token in result.tracked[0].ids[:2]]
    for make in (lens_heatmap, lens_ranks, lens_attribution, lambda r: lens_trajectories(r, ids)):
        figure = figure_json(make(result))
        assert figure == figure_json(make(json.loads(json.dumps(result.to_json()))))
        assert json.loads(json.dumps(figure, allow_nan=False)) == figure
        assert "template" not in figure["layout"]
        assert "bdata" not in json.dumps(figure)


@pytest.mark.parametrize("text", HOSTILE)
def test_escaped_text_is_neither_markup_nor_template_nor_formula(text: str) -> None:
    safe = escape(text)
    assert not re.search(r"[<>%${]", safe)
    assert html.unescape(safe) == text.replace("\x00", "\x00")


def test_no_figure_holds_raw_token_text(record: dict[str, Any]) -> None:
    for figure in every_figure(renamed(record, HOSTILE)):
        for text in strings(figure_json(figure)):
            bare = re.sub(r"</?b>|<br>|<extra></extra>", "", text)
            assert "<" not in bare
            assert "$" not in bare
            templates = re.findall(r"%\{[^}]*\}", bare)
            assert set(templates) <= {"%{hovertext}", "%{meta.word}"}
            assert not re.search(r"[\x00\u200b\u202e]", bare)


def test_hostile_tokens_survive_html_and_png(record: dict[str, Any], tmp_path: Path) -> None:
    for figure in every_figure(renamed(record, HOSTILE)):
        page = save_html(figure, tmp_path / "figure.html").read_text(encoding="utf-8")
        assert "<script>alert" not in page
        assert 'href="javascript:' not in page
        save_png(figure, tmp_path / "figure.png", dpi=40)


def test_html_needs_nothing_else(result: LogitLens, tmp_path: Path) -> None:
    page = save_html(lens_heatmap(result), tmp_path / "figure.html").read_text(encoding="utf-8")
    assert "Plotly.newPlot" in page
    assert len(page) > 4_000_000
    assert not re.search(r"<(script|link)[^>]+(src|href)=", page)


@pytest.mark.parametrize("dark", [False, True])
def test_png_has_the_size_of_the_figure_at_300_dpi(
    result: LogitLens, tmp_path: Path, dark: bool
) -> None:
    for figure in (lens_heatmap(result, dark=dark), lens_ranks(result, dark=dark)):
        image = Image.open(save_png(figure, tmp_path / "figure.png"))
        size = figure.layout.width, figure.layout.height
        for pixels, wanted in zip(image.size, size, strict=True):
            assert abs(pixels - wanted * 300 / 96) <= 1
        assert image.info["dpi"] == pytest.approx((300, 300), abs=0.01)
        ground = tuple(bytes.fromhex((style.DARK if dark else style.LIGHT).panel[1:]))
        pixels = np.asarray(image.convert("RGB"))
        assert tuple(pixels[0, 0]) == ground
        assert (pixels != ground).any(-1).mean() > 0.2, "not blank"


def test_cells_of_the_png_have_the_colour_of_their_value(
    record: dict[str, Any], tmp_path: Path
) -> None:
    figure = lens_heatmap(record)
    image = Image.open(save_png(figure, tmp_path / "figure.png", dpi=96)).convert("RGB")
    z, margin = figure_json(figure)["data"][0]["z"], figure.layout.margin
    inner = figure.layout.width - margin.l - margin.r, figure.layout.height - margin.t - margin.b
    rows, columns = len(z), len(z[0])
    for row, column in itertools.product(range(rows), range(columns)):
        x = margin.l + (column + 0.08) * inner[0] / columns
        y = margin.t + (rows - row - 0.5) * inner[1] / rows
        pixel: Any = image.getpixel((int(x), int(y)))
        wanted = bytes.fromhex(style.colour("probability", z[row][column])[1:])
        assert np.abs(np.subtract(pixel, tuple(wanted))).max() <= 6


def test_a_result_becomes_its_heat_map(result: LogitLens, tmp_path: Path) -> None:
    direct = save_png(result, tmp_path / "a.png", component="attn_out", quantity="logit", dpi=50)
    figure = save_png(lens_heatmap(result, "attn_out", "logit"), tmp_path / "b.png", dpi=50)
    assert direct.read_bytes() == figure.read_bytes()
    with pytest.raises(InputError, match="dpi is 5"):
        save_png(result, tmp_path / "a.png", dpi=5)


TEXTS = [
    "东京",
    " 首都は",
    "서울",
    "🐛",
    "עברית",
    " " + "long" * 40,
    "",
    "e\u0301",
    "\ufffd",
    "\U0010ffff",
]


def test_every_script_can_be_drawn(record: dict[str, Any], tmp_path: Path) -> None:
    for i, figure in enumerate(every_figure(renamed(record, TEXTS))):
        image = Image.open(save_png(figure, tmp_path / f"{i}.png", dpi=60))
        assert np.asarray(image.convert("L")).std() > 0


def test_characters_without_a_font_become_a_box() -> None:
    choice = choose_fonts("a\U0010fffeb")
    assert choice.drawable("a\U0010fffeb") == "a□b"
    assert choose_fonts("plain").names == ()


def test_missing_numbers_are_left_out(record: dict[str, Any], tmp_path: Path) -> None:
    token = record["tracked"][0]["ids"][0]
    record["tracked"][0]["p"]["resid_post"][0] = [0.5, None, None]
    record["cells"]["resid_post"]["max_p"][1][2] = None
    record["attribution"]["attn"][0] = None
    lines = lens_trajectories(record, [token])
    (trace,) = figure_json(lines)["data"]
    assert trace["y"][1:] == [0.5, None, None]
    assert trace["text"][-1].startswith("–")
    assert figure_json(lines)["layout"]["annotations"][0]["y"] == 0.5
    cells, text = figure_json(lens_heatmap(record))["data"]
    assert cells["z"][2][2] is None
    assert (2, 2) not in list(zip(text["x"], text["y"], strict=True))
    bars = lens_attribution(record)
    assert figure_json(bars)["data"][0]["x"][1] is None
    for figure in (lines, lens_heatmap(record), bars):
        save_png(figure, tmp_path / "figure.png", dpi=40)


def test_one_layer_and_one_token(tmp_path: Path) -> None:
    lens = logit_lens(loaded("gpt2"), IDS[:1], components=ALL, layers=[1], k=1)
    figures = [lens_heatmap(lens), lens_ranks(lens), lens_attribution(lens)]
    figures.append(lens_trajectories(lens, [int(lens.tracked[0].ids[0])]))
    assert len(figure_json(figures[0])["data"][0]["z"]) == 2
    for figure in figures:
        save_png(figure, tmp_path / "figure.png", dpi=40)


def test_other_words_and_other_records(result: LogitLens) -> None:
    figure = figure_json(lens_ranks(result, words={"embed": "嵌入", "rank": "第 {rank} 名"}))
    assert figure["layout"]["yaxis"]["ticktext"][0] == "嵌入"
    assert figure["layout"]["xaxis"]["ticktext"][0] == "第 1 名"
    with pytest.raises(InputError, match="words has"):
        lens_heatmap(result, words={"colour": "x"})
    with pytest.raises(InputError, match="lens_core/graph/1"):
        lens_heatmap({**result.to_json(), "schema": "lens_core/graph/1"})
    with pytest.raises(InputError, match="no attribution"):
        lens_attribution({**result.to_json(), "attribution": None})


def test_tokens_read_as_on_the_page() -> None:
    assert shown({"text": " a\n\t"}) == "·a⏎⇥"
    assert shown({"text": "\ufffd", "bytes": "5og="}) == "⟨E6 88⟩"
    assert shown({"text": "\u200b\u202e"}) == "U+200BU+202E"
    assert width("日本e\u0301") == 5
    assert cut("日本語のトークン", 7) == "日本語…"
    assert cut("short", 10) == "short"
    assert [percent(p) for p in (None, 0.0, 0.0004, 0.5)] == ["–", "0.0%", "<0.1%", "50.0%"]
    assert [number(v, signed=True) for v in (-0.001, 1.5, -2.0)] == ["+0.00", "+1.50", "−2.00"]


@pytest.mark.parametrize("scale", sorted(style.SCALES))
def test_scales_hit_their_stops_and_text_on_them_is_readable(scale: str) -> None:
    for dark in (False, True):
        stops = style.SCALES[scale][dark]
        assert [style.colour(scale, i / 4, dark=dark) for i in range(5)] == list(stops)
        for i in range(101):
            fill = style.colour(scale, i / 100, dark=dark)
            assert contrast(fill, style.text_on(fill)) >= 4.5


def test_the_page_has_the_same_colours() -> None:
    script = (VIEWERS / "base" / "colour.js").read_text(encoding="utf-8")
    sheet = (VIEWERS / "page.css").read_text(encoding="utf-8")
    names = re.findall(r"^  (\w+): \[$", script, re.MULTILINE)
    assert {"probability", "amount", "signed"} <= set(names)
    for stops in itertools.chain(*(style.SCALES[name] for name in names)):
        assert ", ".join(f'"{stop}"' for stop in stops) in script
    for colours in (style.LIGHT, style.DARK):
        for i, colour in enumerate(colours.series):
            assert f"--lens-series-{i + 1}: {colour}" in sheet
        for name in ("raises", "lowers", "stream", "rule", "panel"):
            assert f"--lens-{name}: {getattr(colours, name)}" in sheet


def contrast(first: str, second: str) -> float:
    def luminance(colour: str) -> float:
        shares = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in shares]
        return sum(a * b for a, b in zip((0.2126, 0.7152, 0.0722), linear, strict=True))

    low, high = sorted((luminance(first), luminance(second)))
    return (high + 0.05) / (low + 0.05)
