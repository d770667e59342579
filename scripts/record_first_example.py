"""Record what the first visit shows, with the embedded model: tabs/first_example.json."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from lens_core.settings import Settings  # noqa: E402
from tabs import said  # noqa: E402
from tabs.first_example import FILE, FIRST_PROMPT  # noqa: E402
from tabs.logit_lens.clicks import Clicks  # noqa: E402
from tabs.logit_lens.controls import FIRST  # noqa: E402
from tabs.runtime import Runtime, result_of  # noqa: E402
from tabs.words import phrase  # noqa: E402

BAR = ("demo", FIRST_PROMPT, "plain", "none")
VIEWERS = ("heatmap", "head", "ranks", "prediction", "attribution", "followed", "chart")


def recorded() -> dict[str, Any]:
    """What the page shows after Run is pressed on the first prompt."""
    runtime = Runtime(Settings())
    shared = {"model": "demo", "prompt": FIRST_PROMPT, "template": None, "special": "default"}
    steps = Clicks(runtime).run({**shared, "edit": None}, None, None, *dataclasses.astuple(FIRST))
    result, (heatmap, _, _, *detail, session) = result_of(steps)
    strip = said.strip(result, runtime.max_tokens("logit_lens", "demo"), "CPU")
    strip["facts"] = [*strip["facts"][:-1], phrase("status.recorded")]
    drawn = dict(zip(VIEWERS, map(json.loads, (heatmap, *detail)), strict=True))
    return {
        "bar": BAR,
        "strip": strip,
        "viewers": drawn,
        "session": dataclasses.asdict(session),
    }


def main() -> None:
    """Write the file."""
    text = json.dumps(recorded(), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    FILE.write_text(f"{text}\n", encoding="utf-8")
    sys.stdout.write(f"{FILE.name}: {FILE.stat().st_size:,} bytes\n")


if __name__ == "__main__":
    main()
