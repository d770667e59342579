"""What is shown of a repair: its words by layer end where the model itself ends."""

import json
from typing import Any

import pytest
import torch
from repair_cases import (
    FAMILIES,
    PROMPT,
    TARGET,
    assert_untouched,
    basis_of,
    build,
    greedy,
    weights,
)

from lens_core.edits import applied
from lens_core.models import LoadedModel
from lens_core.repairs import repair
from lens_core.repairs.shown import continued, word_course


def next_probs(loaded: LoadedModel, ids: torch.Tensor) -> torch.Tensor:
    model: Any = loaded.model
    with torch.no_grad():
        return model(ids[None], use_cache=False).logits[0, -1].float().softmax(-1)


@pytest.mark.parametrize("name", FAMILIES)
def test_the_course_ends_at_the_models_own_probabilities(name: str) -> None:
    loaded = build(name)
    # The first token is said already, so the second is the one that is repaired.
    target = torch.tensor([greedy(loaded, PROMPT, 1)[0], int(TARGET[0])])
    found = repair(loaded, PROMPT, target, basis=basis_of(loaded))
    before = weights(loaded)
    course = word_course(loaded, found)
    assert_untouched(loaded, before)
    assert course is not None
    assert found.edit is not None
    assert (course.pair, course.index, course.words[0]) == (0, 1, int(target[1]))
    assert course.words[1] == greedy(loaded, PROMPT, 2)[1]
    assert course.before.shape == course.after.shape == (2, 1 + loaded.n_layers)
    ids = torch.cat([PROMPT, target[:1]])
    close: dict[str, Any] = {"rtol": 1e-3, "atol": 1e-6}
    probs = next_probs(loaded, ids)[list(course.words)]
    torch.testing.assert_close(torch.tensor(course.before[:, -1]), probs, **close)
    with applied(loaded, found.edit):
        probs = next_probs(loaded, ids)[list(course.words)]
    torch.testing.assert_close(torch.tensor(course.after[:, -1]), probs, **close)
    # No edit reaches what the embedding alone says.
    torch.testing.assert_close(torch.tensor(course.before[:, 0]), torch.tensor(course.after[:, 0]))
    record = course.to_json()
    assert record["places"] == ["embed", *range(loaded.n_layers)]
    assert record["edited"] == [part.layer for part in found.edit.layers]
    json.dumps(record, allow_nan=False)


def test_nothing_changed_has_no_course() -> None:
    loaded = build("llama")
    said = torch.tensor(greedy(loaded, PROMPT, 1))
    assert word_course(loaded, repair(loaded, PROMPT, said, basis=basis_of(loaded))) is None


def test_a_text_goes_on_with_the_most_likely_tokens() -> None:
    loaded = build("qwen2")
    assert continued(loaded, PROMPT.tolist(), 4) == greedy(loaded, PROMPT, 4)
