"""What surrounds Gradio's page: our scripts and styles in its head, before Gradio starts.

Gradio's own `head` is added when the page already runs, too late to choose the language.
"""

from __future__ import annotations

import gzip
import json
from functools import cache
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware import Middleware
from starlette.responses import Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from tabs.viewers import scripts, styles
from tabs.words import words

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from lens_core.settings import Settings

PLOTLY = "/gradio_api/lens/plotly.min.js"
FONTS = "/gradio_api/lens/fonts"
FONT_FOLDER = Path(__file__).with_name("fonts")


def app_options(settings: Settings, *, home: str | None = None) -> dict[str, Any]:
    """The arguments of the FastAPI app below Gradio.

    Args:
        settings: of the page.
        home: the address that shared links lead to, where the page is shown inside another one.
    """
    head = page_head({"language": settings.language, "home": home, "plotly": PLOTLY.lstrip("/")})
    return {
        "middleware": [Middleware(WithHead, head=head)],
        "routes": [Route(PLOTLY, plotly_script), Mount(FONTS, StaticFiles(directory=FONT_FOLDER))],
    }


def page_head(options: dict[str, Any]) -> str:
    """What every page starts with: `window.lens`, our scripts, our styles."""
    start = {"viewers": {}, "options": options, "words": words()}
    text = json.dumps(start, ensure_ascii=False).replace("<", "\\u003c")
    return (
        f'<script id="lens-scripts">window.lens = {text};\n{scripts()}</script>'
        f'<style id="lens-styles">{styles()}</style>'
    )


def plotly_script(request: Request) -> Response:
    """The plotly.js of the Python package; loaded when the first chart comes into view."""
    coding = _coding(request.headers)
    body, tag = _plotly(coding)
    headers = {"Cache-Control": "public, max-age=86400", "ETag": tag, "Vary": "Accept-Encoding"}
    if request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers=headers)
    if coding != "identity":
        headers["Content-Encoding"] = coding
    return Response(body, media_type="text/javascript", headers=headers)


@cache
def _plotly(coding: str) -> tuple[bytes, str]:
    """The script in a content coding, and its entity tag; compressed once, at the first request."""
    body = (files("plotly") / "package_data" / "plotly.min.js").read_bytes()
    # 9 takes half a second; 11 takes nine seconds and saves another tenth.
    return _compressed(body, coding, quality=9), f'"{version("plotly")}-{coding}"'


def _coding(headers: Headers) -> str:
    """The best content coding that a browser takes."""
    accepted = set()
    for part in headers.get("accept-encoding", "").split(","):
        coding, _, quality = part.replace(" ", "").partition(";q=")
        if quality not in ("0", "0.0", "0.00", "0.000"):
            accepted.add(coding)
    return next((coding for coding in ("br", "gzip") if coding in accepted), "identity")


def _compressed(body: bytes, coding: str, *, quality: int = 5) -> bytes:
    import brotli  # with Gradio

    if coding == "br":
        return brotli.compress(body, quality=quality)
    return gzip.compress(body, quality) if coding == "gzip" else body


class WithHead:
    """Puts a text at the start of the head of every HTML page, and sends the page compressed."""

    def __init__(self, app: ASGIApp, head: str) -> None:
        self._app = app
        self._head = head

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass everything on but pages."""
        if scope["type"] != "http" or scope["method"] != "GET":
            await self._app(scope, receive, send)
            return
        coding = _coding(Headers(scope=scope))
        started: Message | None = None
        page = b""

        async def changed(message: Message) -> None:
            nonlocal started, page
            if message["type"] == "http.response.start" and _is_page(message):
                started = message
            elif started is None:
                await send(message)
            else:
                page += message.get("body", b"")
                if not message.get("more_body", False):
                    await _send_page(started, self._with_head(page), send, coding=coding)

        await self._app(scope, receive, changed)

    def _with_head(self, page: bytes) -> bytes:
        return page.replace(b"<head>", b"<head>" + self._head.encode(), 1)


def _is_page(start: Message) -> bool:
    headers = Headers(raw=start["headers"])
    is_html = headers.get("content-type", "").startswith("text/html")
    return is_html and "content-encoding" not in headers


async def _send_page(start: Message, body: bytes, send: Send, *, coding: str) -> None:
    headers = MutableHeaders(raw=start["headers"])
    if coding != "identity":
        body = _compressed(body, coding)
        headers["content-encoding"] = coding
        headers.add_vary_header("Accept-Encoding")
    headers["content-length"] = str(len(body))
    await send(start)
    await send({"type": "http.response.body", "body": body})
