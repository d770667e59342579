"""Record what the first visit shows, with the embedded model: tabs/first_example.json."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from lens_core.settings import Settings  # noqa: E402
from tabs import said  # noqa: E402
from tabs.first_example import FILE, FIRST_PROMPT  # noqa: E402
from tabs.graph.choices import Chosen as GraphChosen  # noqa: E402
from tabs.graph.clicks import Clicks as GraphClicks  # noqa: E402
from tabs.logit_lens.choices import Chosen as LensChosen  # noqa: E402
from tabs.logit_lens.clicks import Clicks as LensClicks  # noqa: E402
from tabs.runtime import Runtime, result_of  # noqa: E402
from tabs.words import phrase  # noqa: E402

BAR = ("demo", FIRST_PROMPT, "plain", "none")
SHARED = {"model": "demo", "prompt": FIRST_PROMPT, "template": None, "special": "default"}
LENS = ("heatmap", "head", "ranks", "prediction", "attribution", "followed", "chart")
GRAPH = ("graph", "links", "detail", "root")


def recorded() -> dict[str, Any]:
    """What the page shows after Run is pressed on the first prompt, in every tab."""
    runtime = Runtime(Settings())
    shared = {**SHARED, "edit": None}
    steps = LensClicks(runtime).run(shared, None, None, *dataclasses.astuple(LensChosen()))
    _, (heatmap, _, _, *detail, lens_session) = result_of(steps)
    steps = GraphClicks(runtime).run(shared, None, *dataclasses.astuple(GraphChosen()))
    result, (*shown, _, _, _, graph_session) = result_of(steps)
    strip = said.strip(result, runtime.max_tokens("graph", "demo"), "CPU")
    strip["facts"] = [*strip["facts"][:-1], phrase("status.recorded")]
    return {
        "bar": BAR,
        "strip": strip,
        "graph": _tab(GRAPH, shown, graph_session),
        "logit_lens": _tab(LENS, (heatmap, *detail), lens_session),
    }


def _tab(names: tuple[str, ...], shown: Iterable[str], session: Any) -> dict[str, Any]:
    viewers = dict(zip(names, map(json.loads, shown), strict=True))
    return {"viewers": viewers, "session": dataclasses.asdict(session)}


def main() -> None:
    """Write the file."""
    text = json.dumps(recorded(), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    FILE.write_text(f"{text}\n", encoding="utf-8")
    sys.stdout.write(f"{FILE.name}: {FILE.stat().st_size:,} bytes\n")


if __name__ == "__main__":
    main()
