"""Measures a demo model folder: how often its most likely continuation is what the corpus says.

python scripts/measure_demo_model.py demo_models/base --card demo_models/README.md
"""

import json
import random
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated

import torch
import typer
from demo_corpus import arithmetic, copying, giving
from demo_corpus.documents import Question
from demo_corpus.facts import RELATIONS
from demo_corpus.relations import held_out_questions, trained_questions
from demo_corpus.tokenizer import special_ids
from torch import Tensor
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

SEED = 20_000
"""Far from the seeds of training, whose steps are `seed/step`."""

BARS = {
    "capitals en": 0.95,
    "copying": 0.90,
    "indirect object": 0.90,
    "sums": 0.95,
    "facts zh": 0.90,
    "facts ja": 0.90,
}

_TABLE_START, _TABLE_END = "<!-- measured -->", "<!-- /measured -->"


def _facts(language: str, *, capitals: bool | None, held_out: bool = True) -> list[Question]:
    """Questions of a language; `capitals` keeps only the capitals, or only the rest."""
    ask = held_out_questions if held_out else trained_questions
    return [
        question
        for relation in RELATIONS
        if relation.language == language and capitals in (None, relation.name == "capital")
        for question in ask(relation)
    ]


def _copies(shortest: int, longest: int, count: int) -> list[Question]:
    draw = random.Random(SEED)
    return [copying.copy_question(draw, draw.randint(shortest, longest)) for _ in range(count)]


def _scenes(count: int) -> list[Question]:
    draw = random.Random(SEED + 1)
    return [giving.held_out_question(draw) for _ in range(count)]


QUESTIONS: dict[str, Callable[[], Iterable[Question]]] = {
    "capitals en": lambda: _facts("en", capitals=True),
    "capitals en, usual phrasing": lambda: _facts("en", capitals=True, held_out=False),
    "other facts en": lambda: _facts("en", capitals=False),
    "facts zh": lambda: _facts("zh", capitals=None),
    "capitals zh": lambda: _facts("zh", capitals=True),
    "capitals zh, usual phrasing": lambda: _facts("zh", capitals=True, held_out=False),
    "facts ja": lambda: _facts("ja", capitals=None),
    "capitals ja": lambda: _facts("ja", capitals=True),
    "capitals ja, usual phrasing": lambda: _facts("ja", capitals=True, held_out=False),
    "copying": lambda: _copies(3, 16, 200),
    "copying, long lists": lambda: _copies(40, 100, 100),
    "indirect object": lambda: _scenes(400),
    "sums": arithmetic.sum_questions,
    "sums, held-out phrasing": arithmetic.held_out_sum_questions,
    "sums, in words": arithmetic.word_sum_questions,
    "differences": arithmetic.difference_questions,
}
"""What is asked, by the name under which the result is stored."""


def _encode(tokenizer: PreTrainedTokenizerFast, question: Question) -> tuple[list[int], int]:
    """Ids of prompt and answer together, and where the answer starts."""
    prompt = tokenizer(question.prompt).input_ids
    answer = tokenizer(question.answer, add_special_tokens=False).input_ids
    return prompt + answer, len(prompt)


@torch.inference_mode()
def correct(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    questions: list[Question],
    *,
    rows: int = 64,
) -> list[bool]:
    """Whether each answer is what greedy decoding gives: every token the argmax over all."""
    encoded = [_encode(tokenizer, question) for question in questions]
    order = sorted(range(len(encoded)), key=lambda number: len(encoded[number][0]))
    verdicts = [False] * len(encoded)
    for first in range(0, len(order), rows):
        chosen = order[first : first + rows]
        length = max(len(encoded[number][0]) for number in chosen)
        ids = torch.full((len(chosen), length), special_ids(tokenizer)[1])
        for row, number in enumerate(chosen):
            ids[row, : len(encoded[number][0])] = torch.tensor(encoded[number][0])
        # Padding stands on the right, where causal attention never looks from the answer.
        best: Tensor = model(input_ids=ids).logits.argmax(-1)
        for row, number in enumerate(chosen):
            tokens, start = encoded[number]
            verdicts[number] = best[row, start - 1 : len(tokens) - 1].tolist() == tokens[start:]
    return verdicts


def load(folder: Path) -> tuple[PreTrainedModel, PreTrainedTokenizerFast]:
    """The stored model, computed in float32, and its tokenizer."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    return model.eval(), AutoTokenizer.from_pretrained(folder)


def measure(
    folder: Path, *, at_most: int | None = None
) -> dict[str, dict[str, float | int | None]]:
    """Accuracy, number of questions and bar of each kind; `at_most` asks an even sample."""
    model, tokenizer = load(folder)
    results: dict[str, dict[str, float | int | None]] = {}
    for name, ask in QUESTIONS.items():
        questions = list(ask())
        if at_most and len(questions) > at_most:
            questions = questions[:: -(-len(questions) // at_most)]
        verdicts = correct(model, tokenizer, questions)
        results[name] = {
            "accuracy": round(sum(verdicts) / len(verdicts), 4),
            "n": len(verdicts),
            "bar": BARS.get(name),
        }
    return results


def table(results: dict[str, dict[str, float | int | None]]) -> str:
    """The results as a Markdown table."""
    lines = ["| Asked | Right | n | Bar |", "|---|---|---|---|"]
    for name, result in results.items():
        goal, accuracy = result["bar"], result["accuracy"]
        bar = f"{100 * goal:.0f} %" if goal else ""
        assert accuracy is not None
        lines.append(f"| {name} | {100 * accuracy:.1f} % | {result['n']} | {bar} |")
    return "\n".join(lines)


def write_card(card: Path, rows: str) -> None:
    """Put the table between the two markers of the card, in place of the old one."""
    before, rest = card.read_text().split(_TABLE_START)
    after = rest.split(_TABLE_END)[1]
    card.write_text(f"{before}{_TABLE_START}\n{rows}\n{_TABLE_END}{after}")


def main(
    folder: Annotated[Path, typer.Argument(help="Model folder.")],
    card: Annotated[Path | None, typer.Option(help="Markdown card that shows the table.")] = None,
) -> None:
    """Measure a folder, print the table and store it as accuracies.json in the folder."""
    results = measure(folder)
    typer.echo(table(results))
    (folder / "accuracies.json").write_text(json.dumps(results, indent=2) + "\n")
    if card is not None:
        write_card(card, table(results))


if __name__ == "__main__":
    typer.run(main)
