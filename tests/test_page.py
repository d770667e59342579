"""What is sent as the page: its head, its size, its files, and who may call its events."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser

import httpx
import pytest
from conftest import Served

import app
from lens_core.settings import Settings
from tabs import page
from tabs.page import FONT_FOLDER, FONTS, PLOTLY, page_head
from tabs.viewers import EVENTS, FOLDER, drawn, scripts, styles, viewer
from tabs.words import words

pytestmark = pytest.mark.slow

HOSTILE = [
    "</script><script>alert(1)</script>",
    "<!--<script>",
    "</style><img src=x onerror=alert(1)>",
    "]]>",
    "\u2028\u2029",
    '"};alert(1);//',
]
MAX_KIB = 600
"""The first load without a chart, as the project allows itself."""
GRADIO_KIB = 280
"""What Gradio's own files take of it, as benchmarks/RESULTS.md has it."""


class Elements(HTMLParser):
    """The elements of a page as a browser reads them, with what their scripts hold."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.scripts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.append(tag)
        if tag == "script":
            self.scripts.append("")

    def handle_data(self, data: str) -> None:
        if self.tags[-1:] == ["script"]:
            self.scripts[-1] += data


@pytest.fixture
def client(served: Served) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=served.url) as client:
        yield client


def get(client: httpx.Client, path: str, coding: str = "identity", **more: str) -> httpx.Response:
    return client.get(path, headers={"Accept-Encoding": coding, **more})


# ---- the head


def test_the_head_is_one_script_and_one_style_sheet() -> None:
    assert Elements(page_head({})).tags == ["script", "style"]


@pytest.mark.parametrize("text", HOSTILE)
def test_nothing_in_words_or_values_ends_the_script(
    monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setattr(page, "words", lambda: {"en": {"bar.run": text, text: "key"}})
    elements = Elements(page_head({"home": text, "language": text}))
    assert elements.tags == ["script", "style"]
    (script,) = elements.scripts
    assert script == Elements(f"<script>{script}</script>").scripts[0]
    start = json.loads(script.removeprefix("window.lens = ").split(";\n(() => {", 1)[0])
    assert start["options"] == {"home": text, "language": text}
    assert start["words"]["en"]["bar.run"] == text


@pytest.mark.parametrize("text", HOSTILE)
def test_nothing_in_a_viewers_value_is_markup(text: str) -> None:
    value = {"text": text, text: [text]}
    assert "<" not in drawn(value)
    assert json.loads(drawn(value)) == value


def test_our_own_scripts_and_styles_cannot_end_themselves() -> None:
    assert "</script" not in scripts().lower()
    assert "<!--" not in scripts()
    assert "</style" not in styles().lower()


def test_text_reaches_the_page_as_text_only() -> None:
    for path in FOLDER.rglob("*.js"):
        source = path.read_text(encoding="utf-8")
        for way in ("innerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function"):
            assert way not in source, f"{path.name}: {way}"


def test_a_template_is_the_same_for_every_value() -> None:
    for name in EVENTS:
        one, other = viewer(name, {"text": HOSTILE[0]}), viewer(name, {"text": "x"})
        assert one.html_template == other.html_template
        assert one.js_on_load == other.js_on_load


def test_the_head_comes_before_gradio_starts(client: httpx.Client) -> None:
    text = get(client, "/").text
    assert text.count("window.lens = ") == 1
    assert text.index("window.lens = ") < text.index("window.gradio_config")
    assert re.search(r'<head><script id="lens-scripts">', text)


# ---- what is sent


@pytest.mark.parametrize("coding", ["gzip", "br"])
def test_the_compressed_page_is_the_plain_one(client: httpx.Client, coding: str) -> None:
    plain, compressed = get(client, "/"), get(client, "/", coding)
    assert compressed.headers["content-encoding"] == coding
    assert "content-encoding" not in plain.headers
    assert "Accept-Encoding" in compressed.headers["vary"]
    assert steady(compressed.text) == steady(plain.text)
    assert int(plain.headers["content-length"]) == len(plain.content)
    assert int(compressed.headers["content-length"]) < len(plain.content) / 2


def steady(text: str) -> str:
    """The page without what differs from visit to visit."""
    return re.sub(r'"(?:app_id|session_hash)":\s*"?[\w-]+"?', "", text)


def test_the_page_is_in_the_budget_of_the_first_load(client: httpx.Client) -> None:
    sent = int(get(client, "/", "br").headers["content-length"])
    fonts = sum(path.stat().st_size for path in FONT_FOLDER.glob("*.woff2"))
    assert (sent + fonts) / 1024 < MAX_KIB - GRADIO_KIB


def test_what_is_no_page_is_passed_on_as_it_is(client: httpx.Client) -> None:
    assert b"window.lens" not in get(client, "/config").content
    assert get(client, "/config").json()["mode"] == "blocks"
    assert client.head("/").status_code == 200
    assert get(client, "/no-such-page").status_code == 404


@pytest.mark.parametrize("name", sorted(path.name for path in FONT_FOLDER.glob("*.woff2")))
def test_a_font_answers(client: httpx.Client, name: str) -> None:
    answer = get(client, f"{FONTS}/{name}")
    assert answer.status_code == 200
    assert answer.content == (FONT_FOLDER / name).read_bytes()
    assert answer.content.startswith(b"wOF2")


def test_every_font_of_the_styles_is_there() -> None:
    named = set(re.findall(r'url\("([^"]+)"\)', styles()))
    assert named == {f"{FONTS[1:]}/{path.name}" for path in FONT_FOLDER.glob("*.woff2")}


@pytest.mark.parametrize("path", ["../page.py", "%2e%2e/page.py", "..%2fpage.py"])
def test_the_font_folder_gives_out_nothing_else(client: httpx.Client, path: str) -> None:
    assert get(client, f"{FONTS}/{path}").status_code in (404, 405)


@pytest.mark.parametrize("coding", ["identity", "gzip", "br"])
def test_plotly_comes_from_here_and_is_the_packages_own(client: httpx.Client, coding: str) -> None:
    from plotly.offline import get_plotlyjs

    answer = get(client, PLOTLY, coding)
    assert answer.headers["content-type"].startswith("text/javascript")
    assert answer.headers.get("content-encoding", "identity") == coding
    assert answer.text == get_plotlyjs()


def test_plotly_is_sent_once(client: httpx.Client) -> None:
    tag = get(client, PLOTLY, "gzip").headers["etag"]
    again = get(client, PLOTLY, "gzip", **{"If-None-Match": tag})
    assert again.status_code == 304
    assert not again.content
    assert get(client, PLOTLY, "br", **{"If-None-Match": tag}).status_code == 200


def test_a_browser_that_takes_no_coding_gets_the_page_plain(client: httpx.Client) -> None:
    for accepted in ("", "identity", "deflate"):
        assert "content-encoding" not in get(client, "/", accepted).headers, accepted


def test_a_coding_that_a_browser_refuses_is_not_used(client: httpx.Client) -> None:
    assert "content-encoding" not in get(client, "/", "br;q=0, gzip;q=0").headers


def test_gzip_is_gzip(client: httpx.Client) -> None:
    with client.stream("GET", "/", headers={"Accept-Encoding": "gzip"}) as answer:
        raw = b"".join(answer.iter_raw())
    assert b"window.lens = " in gzip.decompress(raw)


# ---- events


def test_every_event_but_the_api_is_private() -> None:
    blocks, _ = app.build(Settings())
    public = {fn.api_name for fn in blocks.fns.values() if fn.api_visibility == "public"}
    graph = {"graph", "graph_node", "graph_edge", "graph_statistics"}
    repair = {"repair", "repair_evaluate", "repair_compare"}
    attention = {"attention", "next_token", "attribution", "remote_importance"}
    pairs = {"pairs", "pair_difference", "causal_trace", "layer_operations"}
    assert public == {"models", "logit_lens", *graph, *repair, *attention, *pairs}
    undocumented = {fn.api_visibility for fn in blocks.fns.values()} - {"public", "private"}
    assert not undocumented
    assert len(blocks.fns) > 30


def test_every_event_that_runs_the_model_waits_in_one_queue() -> None:
    blocks, runtime = app.build(Settings())
    ids = {fn.concurrency_id for fn in blocks.fns.values() if fn.api_name == "logit_lens"}
    assert ids == {"run"}
    assert runtime.run_queue["concurrency_limit"] == 1


def test_the_words_of_the_page_are_those_of_the_files(client: httpx.Client) -> None:
    text = get(client, "/").text
    start = text.split("window.lens = ", 1)[1].split(";\n(() => {", 1)[0]
    assert json.loads(start)["words"] == words()
