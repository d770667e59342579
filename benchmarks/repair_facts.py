"""What repairs are measured on: facts of the embedded model, and tiny models that know facts."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import torch

from lens_core import load_model, wrap_model

if TYPE_CHECKING:
    from torch import Tensor

    from lens_core.models import LoadedModel
    from lens_core.repairs import RepairBasis

Pair = tuple["str | Tensor", "str | Tensor"]

NAMES, LAST, RELATIONS, VALUES = 10, 10, 6, 60
D_VOCAB = 92
ENTITIES = 24
STEPS, BATCH = 260, 144


@dataclass(frozen=True, eq=False)
class Case:
    """One wanted change."""

    pair: Pair
    paraphrases: tuple[Pair, ...]
    subject: str
    """Facts with the same subject do not count as unrelated."""


@dataclass(frozen=True, eq=False)
class Subject:
    """A model with what it should say, and what it should go on saying."""

    name: str
    loaded: LoadedModel
    basis: RepairBasis
    cases: tuple[Case, ...]
    facts: tuple[tuple[str, Pair], ...]
    """(subject, pair): facts that the model knows."""


def demo_subject(count: int, seed: int = 0) -> Subject:
    """The embedded model: facts that are out of date, then counterfactual capitals."""
    from lens_core.repairs import repair_basis

    loaded = load_model("demo")
    facts = tuple(_demo_facts())
    cases = list(_outdated())
    draw = random.Random(seed)
    capitals = [one for one in _relations() if one.name == "capital"]
    while len(cases) < count:
        relation = draw.choice(capitals)
        subject, right = draw.choice(relation.facts)
        wrong = draw.choice([answer for _, answer in relation.facts if answer != right])
        cases.append(_case(relation, subject, wrong))
    return Subject("demo", loaded, repair_basis(loaded), tuple(cases[:count]), facts)


def _relations() -> Sequence[Any]:
    import sys
    from pathlib import Path

    folder = str(Path(__file__).parents[1] / "scripts")
    if folder not in sys.path:
        sys.path.append(folder)
    from demo_corpus.facts import RELATIONS as ALL

    return ALL


def _demo_facts() -> Iterator[tuple[str, Pair]]:
    for relation in _relations():
        for subject, answer in relation.facts:
            yield subject, _asked(relation.trained[0], subject, answer)


def _asked(phrasing: str, subject: str, answer: str) -> Pair:
    from demo_corpus.relations import question

    found, _ = question(phrasing, subject, answer)
    return found.prompt, found.answer


def _case(relation: Any, subject: str, answer: str) -> Case:
    first, *others = relation.trained
    reworded = tuple(_asked(one, subject, answer) for one in others[:3])
    return Case(_asked(first, subject, answer), reworded, subject)


def _outdated() -> Iterator[Case]:
    """Today's capitals in three languages."""
    relations = [one for one in _relations() if one.name == "capital"]
    from demo_corpus.countries import CAPITALS_TODAY, COUNTRIES

    for country in COUNTRIES:
        today = CAPITALS_TODAY.get(country.name["en"])
        if today is None:
            continue
        for relation in relations:
            language = relation.language
            yield _case(relation, country.name[language], today[language])


@cache
def fact_model(family: str, n_layers: int = 4, seed: int = 0) -> Subject:
    """F1: a tiny model trained on 24 entities x 6 relations, each said in two ways."""
    from lens_core.repairs import repair_basis

    draw = random.Random(seed)
    entities = draw.sample([(a, b) for a in range(NAMES) for b in range(LAST)], ENTITIES)
    facts = {
        (entity, relation): tuple(draw.randrange(VALUES) for _ in range(draw.randint(1, 3)))
        for entity in entities
        for relation in range(RELATIONS)
    }
    loaded = wrap_model(
        _trained(family, n_layers, facts, seed), name=f"{family} facts, {n_layers} layers"
    )
    texts = [_sentence(entity, relation, 0, ()) for entity, relation in facts][:40]
    chosen = draw.sample(sorted(facts), 24)
    cases = []
    for entity, relation in chosen:
        value = tuple(draw.randrange(VALUES) for _ in facts[entity, relation])
        cases.append(
            Case(
                _pair(entity, relation, 0, value),
                (_pair(entity, relation, 1, value),),
                f"{entity} {relation}",
            )
        )
    known = tuple(
        (f"{entity} {relation}", _pair(entity, relation, wording, value))
        for (entity, relation), value in facts.items()
        for wording in range(2)
    )
    basis = repair_basis(loaded, [torch.tensor(text) for text in texts])
    return Subject(loaded.facts.id, loaded, basis, tuple(cases), known)


def _sentence(
    entity: tuple[int, int], relation: int, wording: int, value: Sequence[int]
) -> list[int]:
    """Start, then name and relation in one of two orders, then the value and the end."""
    first, last = entity[0], NAMES + entity[1]
    asked = NAMES + LAST + relation
    start, again = D_VOCAB - 6, D_VOCAB - 5
    before = [start, first, last, asked] if wording == 0 else [again, asked, first, last]
    return [*before, *(NAMES + LAST + RELATIONS + one for one in value)]


def _pair(entity: tuple[int, int], relation: int, wording: int, value: Sequence[int]) -> Pair:
    whole = torch.tensor(_sentence(entity, relation, wording, value))
    return whole[:4], whole[4:]


_SIZES: dict[str, Any] = {
    "vocab_size": D_VOCAB,
    "hidden_size": 64,
    "num_attention_heads": 4,
    "max_position_embeddings": 32,
    "bos_token_id": None,
    "eos_token_id": None,
    "pad_token_id": None,
}


def _network(family: str, n_layers: int) -> Any:
    from transformers import (
        AutoModelForCausalLM,
        GPT2Config,
        GPTNeoXConfig,
        LlamaConfig,
        Qwen2Config,
    )

    sizes = {**_SIZES, "num_hidden_layers": n_layers}
    configs = {
        "qwen2": Qwen2Config(**sizes, intermediate_size=256, num_key_value_heads=2),
        "llama": LlamaConfig(**sizes, intermediate_size=256, num_key_value_heads=2),
        "gpt2": GPT2Config(**sizes, n_inner=256),
        "gpt_neox": GPTNeoXConfig(**sizes, intermediate_size=256),
    }
    return AutoModelForCausalLM.from_config(configs[family])


def _trained(family: str, n_layers: int, facts: Any, seed: int) -> Any:
    """The model after training on all sentences, which it then knows."""
    torch.manual_seed(seed)
    network = _network(family, n_layers)
    rows, labels = _training_rows(facts)
    optimiser = torch.optim.AdamW(network.parameters(), lr=4e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 4e-3, total_steps=STEPS)
    order = torch.Generator().manual_seed(seed)
    network.train()
    for _ in range(STEPS):
        batch = torch.randperm(len(rows), generator=order)[:BATCH]
        loss = network(input_ids=rows[batch], labels=labels[batch]).loss
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    for parameter in network.parameters():
        parameter.grad = None
    return network.eval()


def _training_rows(facts: Any) -> tuple[Tensor, Tensor]:
    """Sentences padded to one length; only the values and the end are learnt."""
    end, longest = D_VOCAB - 4, 8
    rows, labels = [], []
    for (entity, relation), value in facts.items():
        for wording in range(2):
            text = [*_sentence(entity, relation, wording, value), end]
            filled = text + [end] * (longest - len(text))
            learnt = [-100] * 4 + text[4:] + [-100] * (longest - len(text))
            rows.append(filled)
            labels.append(learnt)
    return torch.tensor(rows), torch.tensor(labels)
