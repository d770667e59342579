"""A page with viewers, values for the small ones, and a visit to it in a browser."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import gradio as gr
from playwright.sync_api import Browser, Page

from lens_core.settings import Settings
from tabs.page import app_options
from tabs.theme import theme
from tabs.viewers import EVENTS, drawn, viewer

VIEWERS = {
    "token_strip": "token_strip",
    "share": "bars",
    "signed": "bars",
    "followed": "followed",
    "saved": "saved",
}
"""The small viewers: the name on the page, and the viewer."""

HOSTILE = [
    "<img src=x onerror=\"document.body.dataset.pwned='img'\">",
    "<script>document.body.dataset.pwned='script'</script>",
    "${HOME} `ls` ${document.body.setAttribute('data-pwned', 'template')}",
    "{{value}} {token} {count} @children",
    "שלום \u202eevil\u202c",
    "a\u200bb\u2060c\ufeffd\u00ad",
    "\u0000\u0007bell",
    "  two\n\tlines \r\n",
]
"""Texts that no page may run, lose or turn around."""


def entry(text: str, *, special: bool = False) -> dict[str, Any]:
    """A vocabulary entry."""
    return {"text": text, "bytes": None if special else base64.b64encode(text.encode()).decode()}


def records(
    *clusters: str | tuple[str, ...], special: tuple[int, ...] = ()
) -> list[dict[str, Any]]:
    """Token records; a tuple is one character and the bytes of each of its tokens."""
    found: list[dict[str, Any]] = []
    for number, cluster in enumerate(clusters):
        whole, *parts = (cluster,) if isinstance(cluster, str) else cluster
        for k, code in enumerate(parts or [whole.encode().hex(" ").upper()]):
            control = number in special
            found.append(
                {
                    "i": len(found),
                    "id": 100 + len(found),
                    "piece": whole,
                    "bytes_hex": None if control else code,
                    "text": whole if k == max(0, len(parts) - 1) else "",
                    "cluster": number,
                    "cluster_text": whole,
                    "kind": "special" if control else "partial" if parts else "normal",
                }
            )
    return found


def strip(**changes: Any) -> dict[str, Any]:
    tokens = records("<|start|>", "The", " capital", " of", " France", " is", special=(0,))
    detail = ["States read back as the model's own logits: within 0.0", "6 layers · width 128"]
    return {
        "tokens": tokens,
        "limit": 512,
        "prediction": {"entry": entry(" Paris"), "p": 0.9955},
        "badge": {"state": "good", "text": "Exact decomposition · 3e-7", "detail": detail},
        "facts": ["float32", "CPU", "0.08 s"],
        "n_prompt": 6,
        "selected": None,
        **changes,
    }


def share(**changes: Any) -> dict[str, Any]:
    tokens = {" Paris": 0.9955, " Tehran": 0.0013, " Vientiane": 0.0007, " Moscow": 0.0006}
    return {
        "title": "Prediction after the prompt",
        "how": None,
        "kind": "share",
        "rows": [{"entry": entry(text), "value": p} for text, p in tokens.items()],
        "high": None,
        "format": "percent",
        "sums": [],
        "badge": None,
        "empty": None,
        **changes,
    }


PARTS = (-0.06, 0.06, 0.29, 0.77, -0.20, 2.77, -0.18, 1.54, 0.96, 1.03, 1.83, 2.51, 3.65)


def signed(**changes: Any) -> dict[str, Any]:
    names = ["Embedding", *(f"{part} L{n}" for n in range(6) for part in ("Attention", "MLP"))]
    rows = [{"label": name, "value": value} for name, value in zip(names, PARTS, strict=True)]
    return {
        "title": {"key": "Who pushed {token} up", "entry": entry(" Paris")},
        "how": "each bar is what one part added to the logit of the target.",
        "kind": "signed",
        "rows": rows,
        "high": None,
        "format": "signed",
        "sums": [
            {"label": "Sum of the parts", "value": 14.98},
            {"label": "Logit of the model", "value": 14.98},
        ],
        "badge": {"state": "good", "text": "Adds up"},
        "empty": None,
        **changes,
    }


def followed(*groups: tuple[str, ...], **changes: Any) -> dict[str, Any]:
    groups = groups or ((" Paris",), (" Vientiane", " Hanoi"), (" called",))
    lines = [
        {
            "entries": [entry(text) for text in group],
            "ids": list(range(len(group))),
            "series": n + 1 if n < 4 else 0,
        }
        for n, group in enumerate(groups)
    ]
    return {
        "title": "Rise and fall of each candidate",
        "how": "look for the crossing, where the answer overtakes its rivals.",
        "lines": lines,
        "suggested": [
            {"id": 7, "entry": entry(" Baghdad")},
            {"id": 8, "entry": entry("<|end|>", special=True)},
        ],
        "error": None,
        **changes,
    }


def first_values() -> dict[str, dict[str, Any]]:
    saved = {"name": "old.json", "type": "application/json", "text": "{}", "serial": 1}
    return {
        "token_strip": strip(),
        "share": share(),
        "signed": signed(),
        "followed": followed(),
        "saved": saved,
    }


@dataclass
class Stage:
    """A page with viewers; `values` is what the next press of Send shows."""

    first: Callable[[], dict[str, Any]] = first_values
    viewers: dict[str, str] = field(default_factory=lambda: dict(VIEWERS))
    options: dict[str, dict[str, Any]] = field(default_factory=dict)
    """More keyword arguments of a viewer."""

    url: str = ""
    values: dict[str, Any] = field(default_factory=dict)
    events: list[tuple[str, str, dict[str, Any]]] = field(default_factory=list)
    received: dict[str, str] = field(default_factory=dict)
    """The value that a viewer had at its last event."""

    answers: dict[tuple[str, str], Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """As at the start, for another test."""
        self.values = self.first()
        for kept in (self.events, self.received, self.answers):
            kept.clear()

    def page(self) -> gr.Blocks:
        """The viewers, each in a panel, every event of theirs kept."""
        with gr.Blocks() as page:
            made = {}
            for name, kind in self.viewers.items():
                with gr.Column(elem_classes="lens-panel", elem_id=name):
                    made[name] = viewer(kind, self.values[name], **self.options.get(name, {}))
                for event in EVENTS[kind]:
                    getattr(made[name], event)(
                        self.taker(name, event),
                        made[name],
                        made[name],
                        # Gradio's cover of a waiting component may lie over what is pressed next,
                        # and it forgets an event that comes before the last one was answered.
                        show_progress="hidden",
                        trigger_mode="multiple",
                    )
            send = gr.Button("Send")
            send.click(self.shown, None, [*made.values()])
        return page

    def shown(self) -> list[str]:
        """The values as the components take them."""
        return [drawn(self.values[name]) for name in self.viewers]

    def taker(self, name: str, event: str) -> Callable[[str, gr.EventData], Any]:
        """What keeps an event, and answers with another value where a test has prepared one."""

        def take(value: str, data: gr.EventData) -> Any:
            self.received[name] = value
            self.events.append((name, event, dict(data._data)))
            answer = self.answers.get((name, event))
            return gr.skip() if answer is None else drawn(answer)

        return take

    def visit(self, browser: Browser, **options: Any) -> Visit:
        """The page in a visitor's browser, as at the start."""
        self.reset()
        return Visit(browser, self, **options)

    @contextmanager
    def launched(self) -> Iterator[Stage]:
        """The page on a server of its own."""
        page = self.page()
        _, self.url, _ = page.launch(
            prevent_thread_lock=True,
            quiet=True,
            ssr_mode=False,
            theme=theme(),
            app_kwargs=app_options(Settings()),
        )
        yield self
        page.close()


Open = Callable[..., "Visit"]
"""Opens the page, with the options of a visit."""


class Visit:
    """One page of the stage, with the errors it raised."""

    def __init__(
        self,
        browser: Browser,
        stage: Stage,
        *,
        width: int = 1400,
        theme: str = "light",
        language: str = "en",
        touch: bool = False,
    ) -> None:
        self.stage = stage
        size: Any = {"width": width, "height": 900}
        self.context = browser.new_context(viewport=size, has_touch=touch)
        self.page: Page = self.context.new_page()
        self.errors: list[str] = []
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.goto(f"{stage.url}?__theme={theme}&lang={language}")
        for name in stage.viewers.keys() - {"saved"}:
            self.page.locator(f"#{name} .lens-viewer[data-ready]").wait_for(timeout=30_000)
        self.page.evaluate(SETTLED)

    def show(self, **values: Any) -> None:
        """Let Python send these values."""
        self.stage.values |= values
        self.act(lambda: self.page.get_by_role("button", name="Send").click(), *values)

    def act(self, do: Callable[[], Any], *redrawn: str) -> None:
        """Do something, and wait until these viewers have drawn again."""
        shown = {name: self.drawings(name) for name in redrawn if name != "saved"}
        do()
        for name, count in shown.items():
            self.page.wait_for_function(
                "([name, count]) => +document.querySelector(`#${name} .lens-viewer`)"
                ".dataset.ready > count",
                arg=[name, count],
                timeout=10_000,
            )

    def drawings(self, name: str) -> int:
        return int(self.page.locator(f"#{name} .lens-viewer").get_attribute("data-ready") or 0)

    def event(self, name: str, event: str, *, number: int = 0) -> dict[str, Any]:
        """The data of the first event of that kind that reaches Python, or of a later one."""
        until = time.monotonic() + 10
        while time.monotonic() < until:
            found = [one[2] for one in self.stage.events if one[:2] == (name, event)]
            if len(found) > number:
                return found[number]
            self.page.wait_for_timeout(50)
        raise AssertionError(f"{name}.{event} did not arrive: {self.stage.events}")

    def focused(self) -> str | None:
        """The name that the viewers give to what has the focus."""
        return self.page.evaluate("document.activeElement.dataset.focus ?? null")

    def close(self) -> None:
        assert self.errors == []
        self.context.close()


SETTLED = """async () => {
  await document.fonts.ready;
  const frame = () => new Promise(requestAnimationFrame);
  const place = (viewer) => {
    const {x, y, width, height} = viewer.getBoundingClientRect();
    return [x, y, width, height];
  };
  const places = () => JSON.stringify([...document.querySelectorAll('.lens-viewer')].map(place));
  for (let [same, last] = [0, '']; same < 5;) {
    await frame();
    const now = places();
    same = now === last ? same + 1 : 0;
    last = now;
  }
}"""
"""Wait until the fonts are there and nothing has moved for five frames: places read before move."""


SMALLEST_TARGET = """() => Math.min(...[...document.querySelectorAll(
  '.lens-viewer :is(button, input, [role=option])')].filter(e => e.offsetParent)
  .flatMap(e => [e.getBoundingClientRect().width, e.getBoundingClientRect().height]))"""
"""The smallest side of what can be pressed."""
