"""Take pictures of the app in a browser: every state of its tabs, as small PNG files.

`python scripts/take_screenshots.py` writes all of them to build/screenshots, to be looked at;
`python scripts/take_screenshots.py docs --only graph graph-dark-420 logit-lens logit-lens-dark-420`
those of the README.
Everything is waited for, nothing moves, and the embedded model is the same everywhere, so that two
runs on one machine differ in the times that the page says and in nothing else.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import numpy as np
from PIL import Image
from playwright.sync_api import Browser, FloatRect, Locator, Page, sync_playwright

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import chromium  # noqa: E402

import app  # noqa: E402
from lens_core.settings import Settings  # noqa: E402

if TYPE_CHECKING:
    from lens_core.models import LoadedModel
    from tabs.runtime import Runtime

FOLDER = ROOT / "build" / "screenshots"
MAX_BYTES = 200 * 1024
WIDE, PHONE = 1400, 420
TIMEOUT = 60_000

LONG = "one two three four five six seven eight nine ten " * 12
PROMPT = "The capital of France is"
BYTES = "def hello():\n\t🐛 龘 法国的首都是"


class Stage:
    """The app, and a browser to look at it with."""

    def __init__(self, browser: Browser, url: str, runtime: Runtime, folder: Path) -> None:
        self.browser = browser
        self.url = url
        self.runtime = runtime
        self.folder = folder
        """For files that the page opens."""

    @property
    def loaded(self) -> LoadedModel:
        """The model that the page reads."""
        return self.runtime.pool.get(self.runtime.source("demo"))


Act = Callable[[Page, Stage], Iterator[None] | None]
"""What is done on a settled page before its picture; a generator puts things back afterwards."""


@dataclass(frozen=True)
class Shot:
    """One picture: how the page is opened, and what is done there."""

    name: str
    width: int = WIDE
    theme: str = "light"
    language: str = "en"
    tab: str = "logit_lens"
    query: dict[str, str] = field(default_factory=dict)
    """Of the link that opens the page."""
    act: Act | None = None
    whole: bool = True
    """The whole page; otherwise what a window of 900 px shows."""

    @property
    def address(self) -> str:
        """The query of the page."""
        page = {"tab": self.tab, "__theme": self.theme, "lang": self.language}
        return urlencode({**self.query, **page})


def main() -> None:
    """Take the pictures that the command line names."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", nargs="?", type=Path, default=FOLDER)
    parser.add_argument("--only", nargs="+", metavar="NAME", help="these pictures; default: all")
    arguments = parser.parse_args()
    shots = chosen(arguments.only, parser.error)
    arguments.folder.mkdir(parents=True, exist_ok=True)
    with stage() as ready:
        for shot in shots:
            path = arguments.folder / f"{shot.name}.png"
            path.write_bytes(small(take(ready, shot)))
            sys.stdout.write(f"{path} {path.stat().st_size // 1024} KiB\n")


def chosen(names: list[str] | None, complain: Callable[[str], Any]) -> list[Shot]:
    """The pictures of these names; all of them for None."""
    known = {shot.name: shot for shot in SHOTS}
    if unknown := sorted(set(names or ()) - set(known)):
        complain(f"no picture {unknown[0]!r}; there are {', '.join(known)}")
    return [known[name] for name in names or known]


@contextmanager
def stage() -> Iterator[Stage]:
    """The app with its model loaded, and a browser, for the length of a block."""
    path = chromium.find()
    if path is None:
        raise SystemExit(chromium.MISSING)
    settings = Settings()
    page, runtime = app.build(settings)
    options = app.launch_options(settings)
    _, url, _ = page.launch(prevent_thread_lock=True, quiet=True, **options)
    runtime.stack.load_now()
    try:
        with sync_playwright() as playwright, TemporaryDirectory() as folder:
            browser = playwright.chromium.launch(executable_path=path, args=chromium.FLAGS)
            yield Stage(browser, url, runtime, Path(folder))
            browser.close()
    finally:
        page.close()


def take(ready: Stage, shot: Shot) -> bytes:
    """A picture as a PNG, as the browser makes it."""
    phone = shot.width == PHONE
    # A chart draws when it comes into view, so a picture of the whole page has it all in view.
    height = (4000 if phone else 2400) if shot.whole else 900
    context = ready.browser.new_context(
        viewport={"width": shot.width, "height": height}, reduced_motion="reduce", has_touch=phone
    )
    page = context.new_page()
    try:
        page.goto(f"{ready.url}?{shot.address}")
        settle(page, "done" if shot.query else "ready")
        acting = shot.act(page, ready) if shot.act else None
        if acting is not None:
            next(acting)
        page.wait_for_timeout(200)  # a few frames for what the act has changed
        picture = page.screenshot(clip=frame(page, shot), animations="disabled", caret="hide")
        if acting is not None:
            next(acting, None)
        return picture
    finally:
        context.close()


def frame(page: Page, shot: Shot) -> FloatRect:
    """What of the window is in the picture."""
    foot = page.evaluate(
        "(names) => Math.max(...[...document.querySelectorAll(names)]"
        ".map((one) => one.getBoundingClientRect().bottom))",
        ".lens-grid, .lens-repair-grid, #lens-panel-difference",
    )
    height = foot + (16 if shot.width == WIDE else 12) if shot.whole else 900
    return {"x": 0, "y": 0, "width": shot.width, "height": height}


def settle(page: Page, state: str) -> None:
    """Wait until the page is in this state, its fonts are there and all that is seen is drawn."""
    page.wait_for_function(
        "state => document.body.dataset.lensState === state", arg=state, timeout=TIMEOUT
    )
    page.wait_for_timeout(200)  # what came with the state is drawn in the next frames
    page.evaluate("async () => { await document.fonts.ready; }")
    page.wait_for_function(DRAWN, timeout=TIMEOUT)


DRAWN = """() => {
  const seen = (names) => [...document.querySelectorAll(names)]
    .filter((one) => one.clientHeight && one.getBoundingClientRect().top < window.innerHeight);
  const [viewers, charts] = [seen('.lens-viewer'), seen('.lens-chart .frame')];
  return viewers.length > 5 && viewers.every((one) => one.dataset.ready)
    && charts.every((one) => one.dataset.drawn && !one.hasAttribute('aria-busy'));
}"""


def small(png: bytes) -> bytes:
    """The picture with at most 256 colours; fewer where it would be large."""
    picture = Image.open(BytesIO(png)).convert("RGB")
    found = png
    for colours in (256, 128, 64, 32):
        made = BytesIO()
        with_palette(picture, colours).save(made, "PNG", optimize=True)
        found = made.getvalue()
        if len(found) <= MAX_BYTES:
            break
    return found


def with_palette(picture: Image.Image, colours: int) -> Image.Image:
    """The picture in so many colours: a third are its most frequent ones, exactly.

    For the others every colour counts the same, however small its area: thin lines keep theirs.
    """
    pixels = np.asarray(picture).reshape(-1, 3)
    found, places, counts = np.unique(pixels, axis=0, return_inverse=True, return_counts=True)
    exact = found[np.argsort(-counts, kind="stable")[: colours // 3]]
    few = picture.quantize(colours - len(exact), Image.Quantize.MAXCOVERAGE)
    others = np.reshape(few.getpalette() or [], (-1, 3))
    palette = np.concatenate([exact, others]).astype(int)[:colours]
    nearest = ((found[:, None].astype(int) - palette) ** 2).sum(-1).argmin(1).astype(np.uint8)
    made = Image.fromarray(nearest[places].reshape(picture.height, picture.width), "P")
    made.putpalette(palette.astype(np.uint8).tobytes())
    return made


def cell(page: Page, row: int, column: int) -> Locator:
    """A cell of the heat map, counted from the top left; a negative column from the right."""
    cells = page.locator(".lens-view-grid tbody tr").nth(row).locator("td")
    return cells.nth(column if column >= 0 else cells.count() + column)


def hover(row: int, column: int = -1) -> Act:
    """Point at a cell: its card."""

    def act(page: Page, ready: Stage) -> None:
        del ready
        target = cell(page, row, column)
        if page.viewport_size and page.viewport_size["width"] == PHONE:
            target.tap()
        else:
            target.hover()
        page.locator(".lens-view-grid .card").wait_for()

    return act


def select(row: int, column: int = -1) -> Act:
    """Choose a cell whose token is not the one the inspector takes apart: then it does."""

    def act(page: Page, ready: Stage) -> None:
        hover(row, column)(page, ready)
        bars = page.locator(".lens-inspector:visible .lens-bars").last
        before = bars.get_attribute("data-ready")
        cell(page, row, column).click()
        page.wait_for_function(
            "([bars, before]) => bars.dataset.ready !== before", arg=[bars.element_handle(), before]
        )
        page.wait_for_function(DRAWN, timeout=TIMEOUT)

    return act


def focus(page: Page, ready: Stage) -> None:
    """Reach the heat map with the keyboard, and go two cells on."""
    del ready
    page.locator(".lens-choose-read_at input").last.focus()
    for key in ("Tab", "ArrowDown", "ArrowLeft"):
        page.keyboard.press(key)
    page.locator(".lens-view-grid .card").wait_for()


def unfold(page: Page, ready: Stage) -> None:
    """Open what is folded away."""
    del ready
    fold = page.locator(".lens-fold button")
    if fold.is_visible():
        fold.click()
    page.locator(".lens-more > button:visible").click()
    page.locator(".lens-more input:visible").first.wait_for()


def type_(prompt: str) -> Act:
    """Type a prompt without running it."""

    def act(page: Page, ready: Stage) -> None:
        del ready
        page.locator(".lens-prompt textarea").fill(prompt)
        page.wait_for_function("() => document.body.dataset.lensStale !== ''")

    return act


def fail(page: Page, ready: Stage) -> None:
    """Run a prompt that is too long."""
    type_("seven eight nine " * 800)(page, ready)
    page.locator("button.lens-run").click()
    settle(page, "error")


def halt(prompt: str) -> Act:
    """Run a prompt that nobody has run yet, and stop within a layer; then let it go on."""

    def act(page: Page, ready: Stage) -> Iterator[None]:
        go_on = Event()
        layer = ready.loaded.model.get_submodule("model.layers.3")
        handle = layer.register_forward_hook(lambda *_: go_on.wait(30) and None)
        try:
            type_(prompt)(page, ready)
            page.locator("button.lens-run").click()
            page.locator(".status.busy .bar[style]:not([style*=' 0%'])").wait_for()
            yield
        finally:
            handle.remove()
            go_on.set()

    return act


def edited(side: str) -> Act:
    """Open an edit that turns the answer, and run under it."""

    def act(page: Page, ready: Stage) -> None:
        path = ready.folder / "paris-to-london.safetensors"
        if not path.exists():
            turned(ready.loaded, path)
        page.locator(".lens-edit-file input[type=file]").set_input_files(path)
        page.wait_for_function("() => document.body.dataset.lensStale === 'edit'")
        page.locator("button.lens-run").click()
        settle(page, "done")
        if side == "before":
            page.evaluate("() => { document.body.dataset.lensState = 'asked'; }")
            page.locator(".lens-choose-side label").last.click()
            settle(page, "done")

    return act


def edited_and_hover(page: Page, ready: Stage) -> None:
    """The card of a cell that an edit has changed."""
    edited("after")(page, ready)
    hover(0)(page, ready)


def repaired(example: int, *, used: bool = False) -> Act:
    """Run one of the prepared repairs, and use its edit."""

    def act(page: Page, ready: Stage) -> None:
        del ready
        page.locator(".lens-repair-examples button").nth(example).click()
        settle(page, "done")
        page.locator(".lens-edit-list [role=switch]").first.wait_for()
        if used:
            page.locator(".lens-edit-list [role=switch]").first.click()
            page.locator(".lens-edit-list [role=switch][aria-checked=true]").wait_for()
        page.wait_for_timeout(500)  # the charts that came with it

    return act


def turned(loaded: LoadedModel, path: Path) -> None:
    """Write an edit of four neurons after which the model says London where it said Paris."""
    import torch

    from lens_core.edits import make_edit, save_edit
    from lens_core.weights import columns

    layer = 4
    down = loaded.model.get_submodule(f"model.layers.{layer}.mlp.down_proj")
    seen: list[torch.Tensor] = []
    hook = down.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0][0, -1]))
    with loaded.lock, torch.no_grad():
        loaded.model(loaded.tokenize(PROMPT)[None])
    hook.remove()
    (activation,) = seen
    neurons = activation.abs().topk(4).indices.sort().values
    paris, london = (loaded.tokenize(text, special="none")[0] for text in (" Paris", " London"))
    rows = loaded.model.get_parameter("lm_head.weight").detach().float()
    direction = rows[london] - rows[paris]
    step = 3 * direction / direction.norm() * activation[neurons, None].sign()
    edit = make_edit(loaded, {layer: (neurons, columns(down, neurons) + step)})
    save_edit(edit, path)


def knock_out(page: Page, ready: Stage) -> None:
    """Measure what the selected link does."""
    del ready
    page.locator(".lens-selection .action").first.click()
    page.locator(".lens-selection .measured").wait_for()


def measure(page: Page, ready: Stage) -> None:
    """Measure the strongest links."""
    page.locator("button.lens-small:visible").first.click()
    settle(page, "done")
    del ready


def look_at(position: int) -> Act:
    """Ask which heads look at a token."""

    def act(page: Page, ready: Stage) -> None:
        del ready
        page.locator(f"#lens-attention-tokens [data-position='{position}']").click()
        page.locator("#lens-attention-token .lens-chart [data-drawn]").scroll_into_view_if_needed()
        page.mouse.move(0, 0)
        page.evaluate("window.scrollTo(0, 0)")

    return act


def selected(row: int, column: int) -> Act:
    """Select a cell in what restores the answer."""

    def act(page: Page, ready: Stage) -> None:
        del ready
        cells = page.locator("#lens-pair-restored tbody tr").nth(row).locator("td")
        cells.nth(column).click()
        page.keyboard.press("Escape")
        page.mouse.move(0, 0)
        page.wait_for_timeout(300)

    return act


def pressed(button: str) -> Act:
    """Press a button of the part that is shown, and wait for what it measures."""

    def act(page: Page, ready: Stage) -> None:
        del ready
        page.evaluate("() => { document.body.dataset.lensState = 'asked'; }")
        page.locator(button).click()
        settle(page, "done")

    return act


LINK = {"prompt": PROMPT}
CHINESE = {"prompt": "我爱中国🐉，他的首都在于"}
OBJECT = {"prompt": "When Mary and John went to the store, John gave a drink to"}
COPY = {"prompt": "red blue green red blue"}
SHOTS = [
    Shot("graph", tab="graph", act=knock_out),
    Shot("graph-dark-420", tab="graph", width=PHONE, theme="dark"),
    *[
        Shot(f"graph-first-{language}-{theme}-{width}", width, theme, language, tab="graph")
        for language in ("en", "zh", "ja")
        for theme in ("light", "dark")
        for width in (WIDE, PHONE)
    ],
    Shot("graph-object-light-1400", tab="graph", query=OBJECT, act=measure),
    Shot("graph-copy-dark-1400", theme="dark", tab="graph", query=COPY),
    Shot("graph-copy-light-420", width=PHONE, tab="graph", query=COPY),
    Shot("graph-long-light-1400", tab="graph", query={"prompt": LONG}),
    Shot("graph-long-dark-420", width=PHONE, theme="dark", tab="graph", query={"prompt": LONG}),
    Shot("graph-two-light-1400", tab="graph", query={**LINK, "other": "The capital of Nigeria is"}),
    Shot("graph-logit-dark-1400", theme="dark", tab="graph", query={**LINK, "metric": "logit"}),
    Shot("graph-bytes-light-1400", tab="graph", query={"prompt": BYTES}),
    Shot("attention", tab="attention", query=LINK, act=look_at(4)),
    Shot("attention-zh-dark-420", PHONE, "dark", "zh", tab="attention", query=CHINESE),
    *[
        Shot(
            f"attention-{part}-light-1400", tab="attention", query={**LINK, "attention_part": part}
        )
        for part in ("importance", "matrix", "compare", "details", "remote")
    ],
    Shot("attention-ja-dark-1400", theme="dark", language="ja", tab="attention", query=CHINESE),
    Shot("attention-long-light-420", width=PHONE, tab="attention", query={"prompt": LONG}),
    Shot("differences", tab="difference", query=LINK, act=selected(3, 5), whole=False),
    Shot("differences-dark-420", PHONE, "dark", tab="difference", query=LINK),
    Shot("differences-zh-light-1400", language="zh", tab="difference", query=LINK),
    *[
        Shot(
            f"differences-{part}-light-1400", tab="difference", query={"pairs_part": part}, act=act
        )
        for part, act in (
            ("dimensions", None),
            ("trace", pressed(".lens-part-trace button.primary")),
            ("operations", pressed(".lens-part-operations button.primary")),
            ("data", None),
        )
    ],
    Shot("repair", tab="repair", act=repaired(0), whole=False),
    Shot("repair-dark-420", width=PHONE, theme="dark", tab="repair", act=repaired(0)),
    Shot("repair-empty-light-1400", tab="repair"),
    Shot("repair-print-dark-1400", theme="dark", tab="repair", act=repaired(1, used=True)),
    Shot("repair-zh-light-420", width=PHONE, language="zh", tab="repair", act=repaired(2)),
    Shot("repair-ja-light-1400", language="ja", tab="repair", act=repaired(2)),
    Shot("logit-lens", act=hover(4)),
    Shot("logit-lens-dark-420", width=PHONE, theme="dark"),
    *[
        Shot(f"first-{language}-{theme}-{width}", width, theme, language)
        for language in ("en", "zh", "ja")
        for theme in ("light", "dark")
        for width in (WIDE, PHONE)
    ],
    *[
        Shot(f"card-{language}-{theme}-{width}", width, theme, language, act=hover(2))
        for language, theme, width in (
            ("en", "dark", WIDE),
            ("zh", "light", WIDE),
        )
    ],
    Shot("card-ja-light-420", width=PHONE, language="ja", act=hover(2), whole=False),
    Shot("card-dark-420", width=PHONE, theme="dark", act=hover(2), whole=False),
    Shot("selected-light-1400", act=select(4)),
    Shot("selected-ja-dark-1400", theme="dark", language="ja", act=select(3, 4)),
    Shot("sheet-light-420", width=PHONE, act=select(4), whole=False),
    Shot("sheet-zh-dark-420", width=PHONE, theme="dark", language="zh", act=select(4), whole=False),
    Shot("focus-light-1400", act=focus),
    Shot("busy-light-1400", act=halt("The capital of Japan is")),
    Shot("busy-ja-dark-420", PHONE, "dark", "ja", act=halt("日本の首都は")),
    Shot("error-light-1400", act=fail),
    Shot("error-zh-dark-420", width=PHONE, theme="dark", language="zh", act=fail),
    Shot("stale-light-1400", act=type_("The capital of Japan is")),
    Shot("stale-ja-420", width=PHONE, language="ja", act=type_("The capital of Japan is")),
    Shot("generated-light-1400", query={**LINK, "generate": "6"}),
    Shot("generated-dark-420", width=PHONE, theme="dark", query={**LINK, "generate": "6"}),
    Shot("position-light-1400", query={**LINK, "view": "ranks"}),
    Shot("position-zh-dark-420", PHONE, "dark", "zh", query={**LINK, "view": "ranks"}),
    Shot("entropy-dark-1400", theme="dark", query={**LINK, "colour": "entropy"}),
    Shot("adds-light-1400", query={**LINK, "read_at": "mlp_out"}, act=hover(2)),
    Shot("edited-light-1400", act=edited("after")),
    Shot("edited-card-dark-1400", theme="dark", act=edited_and_hover),
    Shot("edited-before-light-1400", act=edited("before")),
    Shot("long-light-1400", query={"prompt": LONG}),
    Shot("long-dark-420", width=PHONE, theme="dark", query={"prompt": LONG}),
    Shot("bytes-light-1400", query={"prompt": BYTES}, act=hover(0)),
    Shot("more-light-1400", act=unfold),
    Shot("more-ja-dark-420", width=PHONE, theme="dark", language="ja", act=unfold),
]


if __name__ == "__main__":
    main()
