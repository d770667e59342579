"""The measurements of attribution: `python -m benchmarks.attribution`.

Occlusion of every token of a prompt of 32, against a plain forward and against running the variants
one by one, which must give the same. The floor is one plain pass over a text as long as all that
changes in the variants together: what is behind a removed token, and a query that is replaced.
"""

from __future__ import annotations

import argparse
import os
from functools import partial
from pathlib import Path
from typing import Any

# As the page does it; read when PyTorch is first imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
import torch

from benchmarks.cases import forward
from benchmarks.foundation import FOLDER, SHORT_RUNS, keep
from benchmarks.measure import interleaved
from benchmarks.subjects import BIG, DEMO, random_ids, subject
from lens_core.attribution.game import Game, Question
from lens_core.models import LoadedModel
from lens_core.network import last_logits_only, run

TOKENS = 32
SUBJECTS = (DEMO, BIG)
BATCHED = "attribution: occlusion of all tokens"
ONE_BY_ONE = "peer: occlusion one by one"
FLOOR = "floor: one text of all tokens that change"


def scores(loaded: LoadedModel, ids: torch.Tensor, *, batched: bool) -> np.ndarray:
    """What the most likely next token loses without each token, in nats."""
    places = tuple((at,) for at in range(len(ids)))
    question = Question(ids, None, None, "log_p", places, "knock_out", 0)
    game = Game(loaded, question, share=batched)
    sets = list(~np.eye(len(ids), dtype=bool))
    found = game.measure(sets) if batched else [game.measure([one])[0] for one in sets]
    return np.array([game.original.value - one.value for one in found])


def speed(repeats: int) -> list[dict[str, Any]]:
    """Both ways against a plain forward, and how far apart their scores are."""
    rows = []
    for name in SUBJECTS:
        loaded = subject(name)
        ids = random_ids(loaded, TOKENS)
        runs = {
            case: partial(scores, loaded, ids, batched=case == BATCHED)
            for case in (BATCHED, ONE_BY_ONE)
        }
        changing = random_ids(loaded, TOKENS * (TOKENS - 1) // 2 + 1)[None]
        floor = partial(run, loaded.model, changing, **last_logits_only(loaded.model))
        rounds = repeats * SHORT_RUNS if name == DEMO else repeats
        ratios, seconds = interleaved(forward(loaded, ids), {**runs, FLOOR: floor}, repeats=rounds)
        apart = float(np.abs(runs[BATCHED]() - runs[ONE_BY_ONE]()).max())
        reference = {key: spread.to_json() for key, spread in seconds.items()}
        rows += [
            {"subject": name, "tokens": TOKENS, "case": case, "forward_s": reference}
            | {"apart": apart}
            | ratio.to_json()
            for case, ratio in ratios.items()
        ]
    return rows


def main(folder: Path = FOLDER) -> None:
    """Measure, and write the results among those that are there."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5, help="5 to 9 are sensible")
    keep("attribution speed", speed, parser.parse_args().repeats, folder)


if __name__ == "__main__":
    main()
