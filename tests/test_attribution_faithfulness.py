"""Faithfulness: rankings are measured by plain runs, and the best one beats random ones."""

from __future__ import annotations

import json
from itertools import permutations

import numpy as np
import pytest
import torch
from families import IDS, loaded

from lens_core import Faithfulness, InputError, attribute, faithfulness, load_model
from lens_core.models import LoadedModel
from lens_core.network import run

TEXT = "The capital of France is"


@pytest.fixture(scope="module")
def demo() -> LoadedModel:
    return load_model("demo")


def log_p(model: LoadedModel, ids: torch.Tensor, target: int) -> float:
    logits = run(model.model, ids[None]).logits[0, -1].double()
    return float(logits.log_softmax(0)[target])


def test_every_number_is_a_plain_run(model: LoadedModel) -> None:
    found = attribute(model, IDS, target=3)
    trust = faithfulness(model, IDS, found, k=2, replacement=7, n_random=2)
    order = np.argsort(-found.scores, kind="stable")

    def without(removed: np.ndarray) -> float:
        ids = IDS.clone()
        ids[torch.from_numpy(removed)] = 7
        return log_p(model, ids, 3)

    (one,) = trust.rankings
    whole = log_p(model, IDS, 3)
    curve = [without(order[:n]) for n in range(8)]
    assert one.comprehensiveness == pytest.approx(whole - without(order[:2]), abs=2e-5)
    assert one.sufficiency == pytest.approx(whole - without(order[2:]), abs=2e-5)
    np.testing.assert_array_equal(trust.removed, np.arange(8))
    np.testing.assert_allclose(one.deletion_curve, curve, atol=2e-5)
    lost = whole - np.array(curve)
    area = np.mean((lost[1:] + lost[:-1]) / 2)
    assert one.deletion_area == pytest.approx(area, abs=2e-5)


def test_the_best_of_all_orders_beats_every_random_one() -> None:
    model, spans = loaded("llama"), [(1, 2), (3, 4), (4, 5), (5, 6)]
    found = attribute(model, IDS, target=3, features=spans)
    orders = {
        str(order): [-float(order.index(i)) for i in range(4)] for order in permutations(range(4))
    }
    trust = faithfulness(model, IDS, found, others=orders, k=1, replacement=7)
    best = max(trust.rankings, key=lambda one: one.deletion_area)
    assert trust.beaten(best)["deletion_area"] >= 0.5
    assert all(best.deletion_area >= one.deletion_area - 1e-9 for one in trust.random)
    areas = {one.name: one.deletion_area for one in trust.rankings}
    occlusion = str(tuple(np.argsort(-found.scores, kind="stable").tolist()))
    assert areas["occlusion"] == areas[occlusion]


def test_a_true_ranking_beats_chance_on_a_trained_model(demo: LoadedModel) -> None:
    ids = demo.tokenize("Rome is in Italy. Berlin is in Germany. The capital of France is")
    found = attribute(demo, ids, target=" Paris")
    backwards = (-found.scores).tolist()
    trust = faithfulness(demo, ids, found, others={"backwards": backwards}, seed=3)
    true, false = trust.rankings
    assert trust.k == 5
    assert trust.beaten(true)["comprehensiveness"] >= 0.9
    values = [one.comprehensiveness for one in trust.random]
    better = sum(value > true.comprehensiveness for value in values)
    as_good = better + 0.5 * values.count(true.comprehensiveness)
    expected = (1 + as_good) / (1 + len(values))
    assert trust.p_values(true)["comprehensiveness"] == pytest.approx(expected)
    assert true.deletion_area > np.mean([one.deletion_area for one in trust.random])
    assert trust.beaten(false)["deletion_area"] < 0.1


def test_random_rankings_follow_the_seed(demo: LoadedModel) -> None:
    ids = demo.tokenize(TEXT)
    found = attribute(demo, ids)
    runs = [faithfulness(demo, ids, found, seed=seed).to_json() for seed in (0, 0, 1)]
    assert runs[0]["random"] == runs[1]["random"]
    assert runs[0]["random"] != runs[2]["random"]
    assert runs[0]["rankings"][0]["deletion_curve"] == runs[2]["rankings"][0]["deletion_curve"]
    assert len(runs[0]["random"]) == 20


def test_the_record_reads_back(demo: LoadedModel) -> None:
    ids = demo.tokenize(TEXT)
    several = [attribute(demo, ids, method=m) for m in ("occlusion", "shapley", "occlusion")]
    trust = faithfulness(demo, ids, several)
    assert [one.name for one in trust.rankings] == ["occlusion", "shapley", "occlusion 2"]
    record = json.loads(json.dumps(trust.to_json(), allow_nan=False))
    assert Faithfulness.from_json(record).to_json() == record
    assert record["schema"] == "lens_core/faithfulness/1"
    with pytest.raises(InputError, match="schema"):
        Faithfulness.from_json({**record, "schema": "x"})


def test_features_behind_the_query_are_left_alone() -> None:
    model = loaded("llama")
    found = attribute(model, IDS, query=3, target=3)
    short = attribute(model, IDS[:4], target=3)
    ranks = [
        faithfulness(model, ids, one, replacement=7).rankings[0]
        for ids, one in ((IDS, found), (IDS[:4], short))
    ]
    np.testing.assert_array_equal(ranks[0].deletion_curve, ranks[1].deletion_curve)


def test_attributions_of_something_else_are_refused(demo: LoadedModel) -> None:
    ids = demo.tokenize(TEXT)
    found = attribute(demo, ids)
    with pytest.raises(InputError, match="another prompt"):
        faithfulness(demo, ids[:3], found)
    with pytest.raises(InputError, match="another target"):
        faithfulness(demo, ids, [found, attribute(demo, ids, target=" London")])
    with pytest.raises(InputError, match="other features"):
        faithfulness(demo, ids, [found, attribute(demo, ids, features=[(0, 2)])])
    with pytest.raises(InputError, match="0 attributions"):
        faithfulness(demo, ids, [])
    with pytest.raises(InputError, match="has 1 scores; there are 5"):
        faithfulness(demo, ids, found, others={"attention": [1.0]})
    with pytest.raises(InputError, match="occluder is 'delete'"):
        faithfulness(demo, ids, found, occluder="delete")
