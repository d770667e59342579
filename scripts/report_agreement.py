"""Compares the contributions of the demo model with what really happens without the parts.

python scripts/report_agreement.py      (minutes; fills docs/contribution-and-knock-out.md, .json)

Over prompts that the model answers, every attention and MLP edge that can reach the prediction is
removed in a forward pass of its own, and so is every earlier token.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from demo_corpus.documents import Question
from measure_demo_model import QUESTIONS, correct, load

from lens_core import (
    GraphRun,
    LoadedModel,
    Part,
    contribution_graph,
    graph_agreement,
    graph_run,
    load_model,
    verify,
)
from lens_core.tree.agreement import rank_correlation
from lens_core.tree.knock_out import MAX_PARTS

ROOT = Path(__file__).parents[1]
SEED = 4
FIRST = "The capital of France is"
LONGEST = 32
"""Tokens of a prompt: the edges grow with the square of it. So many edges and earlier tokens of
every graph are measured as `graph_agreement` does it."""
KINDS = {
    "facts, English": (("capitals en, usual phrasing", 6), ("other facts en", 6)),
    "facts, Chinese": (("facts zh", 8),),
    "facts, Japanese": (("facts ja", 8),),
    "copying": (("copying", 8),),
    "indirect object": (("indirect object", 8),),
    "sums": (("sums", 6),),
}
"""What is asked: names of questions, and how many of them."""

GRAPHS: dict[str, dict[str, str]] = {
    "l1": {"metric": "l1"},
    "l1, sources": {"metric": "l1", "granularity": "source"},
    "projection": {"metric": "projection"},
    "logit": {"metric": "logit"},
    "norm": {"metric": "norm"},
}
SHOWN = 0.04
"""The default threshold."""
MATTERS, NOTHING = 0.1, 0.01
"""Nats of KL from which a part matters, and below which it does nothing to speak of."""
_START, _END = "<!-- measured -->", "<!-- /measured -->"

Key = tuple[str, str, str]
"""Source, destination and kind of an edge."""


@dataclass(frozen=True, eq=False)
class Measured:
    """One prompt: what every edge does, and what each graph says."""

    kind: str
    prompt: str
    answer: str
    p: float
    """Of the model's own prediction."""
    keys: list[Key]
    kl: np.ndarray
    logit_change: np.ndarray
    influence: dict[str, np.ndarray]
    """By name of the graph; 0 where it has no such edge."""
    sign: dict[str, np.ndarray]
    """+1, -1 or 0 of the signed metrics."""
    shown: np.ndarray
    """Whether the default graph shows the edge."""
    agreements: dict[str, dict[str, Any]]
    """What `graph_agreement` says of each graph at the default threshold."""

    @property
    def layers(self) -> np.ndarray:
        """The layer that each edge writes into."""
        return np.array([int(dst[1:].split("_")[0]) for _, dst, _ in self.keys])

    @property
    def mlps(self) -> np.ndarray:
        """Which edges are MLPs."""
        return np.array([kind == "ffn" for _, _, kind in self.keys])


def chosen_prompts(folder: Path) -> list[tuple[str, str, str]]:
    """(kind, prompt, answer) of prompts whose answers the model gives, always the same ones."""
    model, tokenizer = load(folder)
    draw, found = random.Random(SEED), []
    for kind, asked in KINDS.items():
        for name, count in asked:
            questions = [
                question
                for question in QUESTIONS[name]()
                if len(tokenizer(question.prompt).input_ids) <= LONGEST
            ]
            draw.shuffle(questions)
            # France first: its graph is the first example of the page.
            questions.sort(key=lambda question: question.prompt != FIRST)
            sample = questions[: 3 * count]
            right = zip(sample, correct(model, tokenizer, sample), strict=True)
            good = [question for question, is_right in right if is_right]
            found += [(kind, *up_to_the_answer(question, tokenizer)) for question in good[:count]]
    return found


def up_to_the_answer(question: Question, tokenizer: Any) -> tuple[str, str]:
    """Prompt and answer, with a space that is a token of its own on the side of the prompt.

    After "9 + 6 =" it is certain, so nothing that is removed would change it.
    """
    ids = tokenizer(question.answer, add_special_tokens=False).input_ids
    if tokenizer.decode(ids[:1]).strip():
        return question.prompt, question.answer
    return f"{question.prompt} ", question.answer.lstrip()


def edges_of(graph: Any) -> dict[Key, tuple[float, float]]:
    """(influence, weight) of the attention and MLP edges; an MLP once, by its upper edge."""
    return {
        (edge["src"], edge["dst"], edge["kind"]): (edge["influence"], edge["w"])
        for edge in graph.edge_list()
        if edge["kind"] in ("attention", "ffn") and edge["dst"][0] != "M"
    }


def measure(loaded: LoadedModel, kind: str, prompt: str, answer: str) -> Measured:
    """Remove every edge of a prompt that can reach the prediction."""
    ids = loaded.tokenize(prompt)
    run = graph_run(loaded, ids)
    whole = {
        name: edges_of(contribution_graph(loaded, ids, run=run, threshold=0.0, **options))
        for name, options in GRAPHS.items()
    }
    # Every part has a length, so this tree holds all edges that lead to the root.
    keys = sorted(whole["norm"])
    kl, change, p = knock_outs(loaded, run, [Part(*key) for key in keys])
    shown = edges_of(contribution_graph(loaded, ids, run=run, threshold=SHOWN))
    return Measured(
        kind=kind,
        prompt=prompt,
        answer=answer,
        p=p,
        keys=keys,
        kl=kl,
        logit_change=change,
        influence={name: column(found, keys, 0) for name, found in whole.items()},
        sign={
            "projection": np.sign(column(whole["projection"], keys, 0)),
            "logit": np.sign(column(whole["logit"], keys, 1)),
        },
        shown=np.array([key in shown for key in keys]),
        agreements={
            name: graph_agreement(
                loaded,
                run,
                contribution_graph(loaded, ids, run=run, threshold=SHOWN, **options),
                n=LONGEST,
            ).to_json()
            for name, options in GRAPHS.items()
        },
    )


def column(found: dict[Key, tuple[float, float]], keys: list[Key], place: int) -> np.ndarray:
    """One number of every edge, 0 where the graph has none."""
    return np.array([found.get(key, (0.0, 0.0))[place] for key in keys])


def knock_outs(
    loaded: LoadedModel, run: GraphRun, parts: list[Part]
) -> tuple[np.ndarray, np.ndarray, float]:
    """KL and change of the logit without each part, and the original probability."""
    found = [
        verify(loaded, run, parts[start : start + MAX_PARTS])
        for start in range(0, len(parts), MAX_PARTS)
    ]
    kl, change = (np.concatenate([getattr(v, n) for v in found]) for n in ("kl", "logit_change"))
    return kl, change, found[0].original_p


def mean_interval(values: Iterable[float | None]) -> dict[str, float | int] | None:
    """Mean over prompts with a 95 % bootstrap interval, of the values that are defined."""
    known = np.array([value for value in values if value is not None])
    if not len(known):
        return None
    draw = np.random.default_rng(SEED)
    means = draw.choice(known, (2000, len(known))).mean(1)
    low, high = np.quantile(means, (0.025, 0.975))
    return {"mean": float(known.mean()), "low": float(low), "high": float(high), "n": len(known)}


def correlations(
    prompts: list[Measured],
    name: str,
    *,
    effect: str = "kl",
    where: Callable[[Measured], np.ndarray] | None = None,
) -> dict[str, float | int] | None:
    """Spearman of |influence| and |effect| within each prompt, over some of its edges."""
    found = []
    for one in prompts:
        chosen = slice(None) if where is None else where(one)
        pair = (np.abs(one.influence[name])[chosen], np.abs(getattr(one, effect))[chosen])
        found.append(rank_correlation(*pair).rho)
    return mean_interval(found)


def layer_is(layer: int) -> Callable[[Measured], np.ndarray]:
    """The edges that write into a layer."""
    return lambda one: one.layers == layer


def summary(prompts: list[Measured], n_layers: int) -> dict[str, Any]:
    """Everything that the document says, by graph."""
    return {
        name: {
            "all_edges_kl": correlations(prompts, name),
            "all_edges_logit": correlations(prompts, name, effect="logit_change"),
            "attention_kl": correlations(prompts, name, where=lambda one: ~one.mlps),
            "mlp_kl": correlations(prompts, name, where=lambda one: one.mlps),
            "layers_kl": [correlations(prompts, name, where=layer_is(n)) for n in range(n_layers)],
            "shown_kl": mean_interval(
                one.agreements[name]["correlation"]["edges_kl"]["rho"] for one in prompts
            ),
            "top_edge_in_top_3": mean_interval(top_edge_in(one, name, 3) for one in prompts),
            "mass": mean_interval(mass(one, name) for one in prompts),
            "top_source_confirmed": mean_interval(confirmed(one, name) for one in prompts),
            "needed_in_top_3": mean_interval(needed_in(one, name, 3) for one in prompts),
            "without_share": mean_interval(
                float((one.influence[name] == 0).mean()) for one in prompts
            ),
            "sign": mean_interval(sign_agreement(one, name) for one in prompts),
        }
        for name in GRAPHS
    }


def top_edge_in(one: Measured, name: str, places: int) -> float:
    """1 when the edge with most influence is among the edges with the largest effects."""
    top = int(np.abs(one.influence[name]).argmax())
    return float((one.kl > one.kl[top]).sum() < places)


def mass(one: Measured, name: str) -> float:
    """How much of all effects the 20 edges with most influence have, against the best 20."""
    chosen = np.argsort(-np.abs(one.influence[name]), kind="stable")[:20]
    return float(one.kl[chosen].sum() / np.sort(one.kl)[-20:].sum())


def confirmed(one: Measured, name: str) -> float | None:
    """1 when no earlier token changes the prediction more than the top source."""
    said = one.agreements[name]["top_source"]["confirmed"]
    return None if said is None else float(said)


def needed_in(one: Measured, name: str, places: int) -> float | None:
    """1 when the token that changes the prediction most is among the strongest sources."""
    effects = [row["kl"] for row in one.agreements[name]["tokens"]]
    return float(int(np.argmax(effects)) < places) if effects else None


def sign_agreement(one: Measured, name: str) -> float | None:
    """Share of the edges that matter whose sign is that of what they do to the logit."""
    if name not in one.sign:
        return None
    chosen = (one.kl > MATTERS) & (one.sign[name] != 0)
    agree = one.sign[name][chosen] == -np.sign(one.logit_change[chosen])
    return float(agree.mean()) if len(agree) else None


def mistakes(prompts: list[Measured]) -> dict[str, float | int]:
    """What the default graph leaves out although it matters, and shows although it does nothing."""
    kl = np.concatenate([one.kl for one in prompts])
    shown = np.concatenate([one.shown for one in prompts])
    matters = kl > MATTERS
    return {
        "edges": len(kl),
        "matter": int(matters.sum()),
        "matter_not_shown": float((matters & ~shown).sum() / matters.sum()),
        "effect_not_shown": float(kl[~shown].sum() / kl.sum()),
        "shown": int(shown.sum()),
        "shown_without_effect": float((shown & (kl < NOTHING)).sum() / shown.sum()),
        "any_without_effect": float((kl < NOTHING).mean()),
    }


def report(prompts: list[Measured], loaded: LoadedModel) -> dict[str, Any]:
    """The numbers of the document as plain values."""
    return {
        "schema": "lens_core/agreement_report/1",
        "model": loaded.facts.header(),
        "seed": SEED,
        "threshold": SHOWN,
        "nats": {"matters": MATTERS, "nothing": NOTHING},
        "summary": summary(prompts, loaded.n_layers),
        "kinds": {
            kind: {
                "n": sum(one.kind == kind for one in prompts),
                "all_edges_kl": correlations(of_kind(prompts, kind), "l1"),
                "top_source_confirmed": mean_interval(
                    confirmed(one, "l1") for one in of_kind(prompts, kind)
                ),
            }
            for kind in KINDS
        },
        "mistakes": mistakes(prompts),
        "prompts": [prompt_record(one, loaded) for one in prompts],
    }


def of_kind(prompts: list[Measured], kind: str) -> list[Measured]:
    """The prompts of one kind."""
    return [one for one in prompts if one.kind == kind]


def prompt_record(one: Measured, loaded: LoadedModel) -> dict[str, Any]:
    """One prompt in the JSON file."""
    said = one.agreements["l1"]
    source = said["top_source"]["position"]
    assert loaded.tokenizer is not None
    token = None if source is None else loaded.tokenizer.decode(said["input"]["ids"][source])
    row = next((r for r in said["tokens"] if r["part"]["node"] == f"X0_{source}"), None)
    return {
        "kind": one.kind,
        "prompt": one.prompt,
        "answer": one.answer,
        "p": one.p,
        "edges": len(one.keys),
        "rho_kl": {
            name: rank_correlation(np.abs(one.influence[name]), one.kl).rho for name in GRAPHS
        },
        "top_source": {**said["top_source"], "token": token},
        "without_top_source": None if row is None else {k: row[k] for k in ("p", "kl")},
    }


def tables(found: dict[str, Any]) -> str:
    """The numbers as Markdown."""
    by_graph, layers = found["summary"], len(found["summary"]["l1"]["layers_kl"])
    rows = {
        "All edges: rank correlation with KL": "all_edges_kl",
        "All edges: with the change of the logit": "all_edges_logit",
        "Attention edges: with KL": "attention_kl",
        "MLP edges: with KL": "mlp_kl",
        f"The {LONGEST} strongest shown at {SHOWN}: with KL": "shown_kl",
        "Strongest edge is among the 3 with the largest effect": "top_edge_in_top_3",
        "Effect of the 20 strongest edges / of the best 20": "mass",
        "Top source confirmed by cutting it off": "top_source_confirmed",
        "Most needed token is among the 3 top sources": "needed_in_top_3",
        "Edges whose contribution is exactly 0": "without_share",
        "Sign right, edges that matter": "sign",
    }
    head = ["| | " + " | ".join(GRAPHS) + " |", "|---|" + "---|" * len(GRAPHS)]
    lines = [
        f"| {said} | " + " | ".join(cell(by_graph[name][key]) for name in GRAPHS) + " |"
        for said, key in rows.items()
    ]
    depth = [
        f"| layer {layer} | "
        + " | ".join(cell(by_graph[name]["layers_kl"][layer]) for name in GRAPHS)
        + " |"
        for layer in range(layers)
    ]
    kinds = [
        f"| {kind} | {one['n']} | {cell(one['all_edges_kl'])} "
        f"| {cell(one['top_source_confirmed'])} |"
        for kind, one in found["kinds"].items()
    ]
    kind_head = [
        "| Prompts | n | Rank correlation, l1 | Top source confirmed |",
        "|---|---|---|---|",
    ]
    by_depth = "By the layer that is written into (all edges, with KL):"
    blocks = [
        [*head, *lines],
        [by_depth],
        [*head, *depth],
        [*kind_head, *kinds],
        [mistakes_text(found["mistakes"])],
        [france_text(found["prompts"][0])],
    ]
    return "\n\n".join("\n".join(block) for block in blocks)


def cell(value: dict[str, float] | None) -> str:
    """A mean with its interval."""
    if value is None:
        return "–"
    return f"{value['mean']:.2f} ({value['low']:.2f} to {value['high']:.2f})".replace("-", "−")


def mistakes_text(found: dict[str, float]) -> str:
    """What the default graph gets wrong, in words."""
    return (
        f"Of {found['edges']:,} edges, {found['matter']:,} change the prediction by more than "
        f"{MATTERS} nats when they are removed. The default graph (l1, {SHOWN}) leaves out "
        f"{100 * found['matter_not_shown']:.0f} % of these; the edges that it leaves out hold "
        f"{100 * found['effect_not_shown']:.0f} % of all measured effects. Of the "
        f"{found['shown']:,} edges that it shows, {100 * found['shown_without_effect']:.0f} % "
        f"change the prediction by less than {NOTHING} nats (of all edges "
        f"{100 * found['any_without_effect']:.0f} %)."
    )


def france_text(one: dict[str, Any]) -> str:
    """What becomes of the first example."""
    top, without = one["top_source"], one["without_top_source"]
    said = "confirmed" if top["confirmed"] else f"not confirmed (rank {top['rank']})"
    return (
        f'"{one["prompt"]}": the top source is "{top["token"]}". Without what later positions '
        f'read of it the probability of "{one["answer"]}" falls from {100 * one["p"]:.1f} % to '
        f"{100 * without['p']:.2g} % (KL {without['kl']:.2f} nats): {said}."
    )


def main(
    document: Annotated[
        Path, typer.Option(help="Markdown file with the markers that hold the tables.")
    ] = ROOT / "docs" / "contribution-and-knock-out.md",
    folder: Annotated[Path, typer.Option(help="Folder of the demo model.")] = ROOT
    / "demo_models"
    / "base",
) -> None:
    """Measure all prompts, and write the tables and the JSON file beside them."""
    loaded = load_model("demo")
    prompts = []
    for kind, prompt, answer in chosen_prompts(folder):
        prompts.append(measure(loaded, kind, prompt, answer))
        typer.echo(f"{len(prompts):3} {kind}: {prompt} ({len(prompts[-1].keys)} edges)")
    found = report(prompts, loaded)
    text = json.dumps(found, ensure_ascii=False, allow_nan=False, indent=1)
    document.with_suffix(".json").write_text(text + "\n", encoding="utf-8")
    before, rest = document.read_text(encoding="utf-8").split(_START)
    after = rest.split(_END)[1]
    document.write_text(f"{before}{_START}\n\n{tables(found)}\n\n{_END}{after}", encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
