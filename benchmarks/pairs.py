"""The measurements of pairs: `python -m benchmarks.pairs`.

Adds its sections to RESULTS.md and results.json: what comparing minimal pairs takes, as a ratio to
running the blocks on every text alone, its peak memory, what the embedded model's dims do on
template pairs and on BLiMP, and how much a page is sent.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

# As the page does it; read when PyTorch is first imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
import torch

from benchmarks.foundation import FOLDER, keep
from benchmarks.measure import interleaved, peak_mib
from benchmarks.subjects import BIG, DEMO, subject
from lens_core.difference import pair_difference
from lens_core.pairs import make_pairs, read_pairs
from lens_core.pairs.record import Alignment, Pair
from tabs.difference.choices import Asked, Look
from tabs.difference.dimension_views import conclusion, dimensions_stack
from tabs.difference.layer_views import layers_stack
from tabs.difference.session import Pairs, Session
from tabs.pairs_operations import Differing
from tabs.viewers import drawn
from tabs.words import words

if TYPE_CHECKING:
    from benchmarks.measure import Run
    from lens_core.models import LoadedModel

N_PAIRS, TOKENS = 64, 16
N_FOUND, N_PAGE = 200, 200
BLIMP = FOLDER / "data" / "blimp.jsonl"
TEMPLATES = ("tense_errors", "subject_differences", "synonym", "number_agreement")

Item = tuple[Pair, Alignment]


def random_pairs(loaded: LoadedModel, count: int, tokens: int = TOKENS) -> list[Item]:
    """Pairs of random ids, of about one length, that differ in one token; always the same."""
    generator = torch.Generator().manual_seed(tokens)
    found = []
    for index in range(count):
        length = tokens - 2 + index % 5
        ids = torch.randint(0, loaded.facts.vocab_size - 1, (length,), generator=generator).tolist()
        at = length // 2
        other = [*ids[:at], ids[at] + 1, *ids[at + 1 :]]
        common = tuple((place, place) for place in range(at + 1, length))
        span = (at, at + 1)
        alignment = Alignment(tuple(ids), tuple(other), at, ((span, span),), common)
        found.append((Pair(str(ids), str(other)), alignment))
    return found


def one_by_one(loaded: LoadedModel, pairs: list[Item]) -> Run:
    """The reference: the blocks on every text alone, without head, cache or hooks."""
    body: Any = loaded.model.base_model
    texts = [torch.tensor([ids]) for _, one in pairs for ids in (one.ids1, one.ids2)]

    def run() -> None:
        with torch.inference_mode():
            for ids in texts:
                body(input_ids=ids, use_cache=False)

    return run


def metrics(loaded: LoadedModel, pairs: list[Item]) -> Run:
    """All layers' metrics and every dim's statistics, without reading states as predictions."""
    return lambda: pair_difference(loaded, pairs, lens=False)


def metrics_and_lens(loaded: LoadedModel, pairs: list[Item]) -> Run:
    """The same with the divergences of the lens at every layer, as it is by default."""
    return lambda: pair_difference(loaded, pairs)


def all_states(loaded: LoadedModel, pairs: list[Item]) -> Run:
    """A peer: the library's whole model on every text alone, with all states, logits and cache."""
    model: Any = loaded.model

    def run() -> None:
        with torch.inference_mode():
            for _, one in pairs:
                for ids in (one.ids1, one.ids2):
                    model(torch.tensor([ids]), output_hidden_states=True)

    return run


PAIR_CASES: dict[str, Callable[[LoadedModel, list[Item]], Run]] = {
    "pairs: metrics and dims": metrics,
    "pairs: with the lens": metrics_and_lens,
    "peer: all states, one text at a time": all_states,
}


def speed(repeats: int) -> list[dict[str, Any]]:
    """Every case against the blocks on every text alone."""
    found = []
    for name in (DEMO, BIG):
        loaded = subject(name)
        pairs = random_pairs(loaded, N_PAIRS)
        runs = {case: make(loaded, pairs) for case, make in PAIR_CASES.items()}
        ratios, seconds = interleaved(one_by_one(loaded, pairs), runs, repeats=repeats)
        reference = {key: spread.to_json() for key, spread in seconds.items()}
        found += [
            {"subject": name, "pairs": len(pairs), "case": case, "reference_s": reference}
            | ratio.to_json()
            for case, ratio in ratios.items()
        ]
    return found


def memory(repeats: int) -> list[dict[str, Any]]:
    """Peak memory with few and with many pairs on the demo, one run each."""
    del repeats
    loaded = subject(DEMO)
    run = one_by_one(loaded, random_pairs(loaded, 8))
    run()
    return [
        {
            "subject": DEMO,
            "pairs": count,
            "mib": peak_mib(metrics(loaded, random_pairs(loaded, count))),
        }
        for count in (N_PAIRS, 10 * N_PAIRS)
    ]


def found_dims(repeats: int) -> list[dict[str, Any]]:
    """What the small-change test finds in the embedded model, and what its control finds."""
    del repeats
    loaded = subject(DEMO)
    blimp = read_pairs(BLIMP).pairs
    per_category = N_FOUND // len(TEMPLATES)
    sets = {"templates": make_pairs(TEMPLATES, n=per_category), "BLiMP": blimp}
    rows = []
    for name, pairs in sets.items():
        result = pair_difference(loaded, pairs)
        assert result.control is not None
        rows.append(
            {
                "set": name,
                "pairs": len(result.pairs),
                "left_out": len(result.left_out),
                "units": result.n_units,
                "found": len(result.found),
                "control": int(result.control.found_per_site.sum()),
                "dims": sum(int(np.isfinite(one.p).sum()) for one in result.dims.values()),
                "said": result.verdict,
                "page": english(conclusion(result)),
            }
        )
    return rows


def english(said: dict[str, Any]) -> str:
    """A phrase of the page in English."""
    return words()["en"][said["key"]].format(**said.get("values", {}))


def sent_to_page(repeats: int) -> dict[str, Any]:
    """Bytes that a page gets of many pairs on the big model, and what drawing them up takes."""
    del repeats
    loaded = subject(BIG)
    items = random_pairs(loaded, N_PAGE)
    result = pair_difference(loaded, items, lens=False)
    records = tuple(pair.to_json() for pair, _ in items)
    shared = {"model": BIG, "template": None, "special": "default", "edit": None}
    look = Look(site=f"layer_{loaded.n_layers // 2}")
    session = Session(shared, Asked(), look, Pairs(records), compared=Differing(result))
    made = {"layers": layers_stack, "dimensions": dimensions_stack}
    sizes, seconds = {}, {}
    for name, stack in made.items():
        started = time.perf_counter()
        text = drawn(stack(session))
        seconds[name], sizes[name] = time.perf_counter() - started, len(text.encode())
    return {"pairs": N_PAGE, "subject": BIG, "bytes": sizes, "seconds": seconds}


SECTIONS: dict[str, Callable[[int], Any]] = {
    "speed": speed,
    "memory": memory,
    "found": found_dims,
    "page": sent_to_page,
}


def measure(sections: list[str], repeats: int, folder: Path = FOLDER) -> None:
    """Measure some sections, and write all results that are known then."""
    for section in sections:
        keep(f"pairs {section}", SECTIONS[section], repeats, folder)


def main() -> None:
    """Measure what the command line names."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("sections", nargs="*", help=f"of {', '.join(SECTIONS)}; default: all")
    parser.add_argument("--repeats", type=int, default=2, help="a round takes minutes")
    arguments = parser.parse_args()
    if unknown := set(arguments.sections) - set(SECTIONS):
        parser.error(f"no section {min(unknown)!r}; there are {', '.join(SECTIONS)}")
    measure(arguments.sections or list(SECTIONS), arguments.repeats)


if __name__ == "__main__":
    main()
