"""What the model says for the wanted pairs, token by token and in free continuation."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Int
from torch import Tensor

from lens_core.lens.generation import Sampling, generate_ids
from lens_core.models import LoadedModel
from lens_core.repairs.observed import Standing, observe
from lens_core.repairs.result import PairState, TokenState
from lens_core.repairs.wanted import Pair, Rows


def continuation(
    loaded: LoadedModel, ids: Int[Tensor, " position"], tokens: int
) -> Int[Tensor, " new"]:
    """The most likely next tokens; fewer where the text or the room for it ends."""
    limit = loaded.facts.max_positions
    tokens = tokens if limit is None else max(0, min(tokens, limit - len(ids)))
    with loaded.lock, torch.no_grad():
        return generate_ids(loaded, ids, Sampling(tokens))[len(ids) :]


def token_state(standing: Standing, target: Tensor, row: int) -> TokenState:
    """How the model stands to one wanted token."""
    margin = float(standing.margin[row])
    log_p, rival = float(standing.log_prob[row]), float(standing.rival_log_prob[row])
    said = (int(target[row]), log_p) if margin > 0 else (int(standing.rival[row]), rival)
    return TokenState(
        said=said[0],
        said_p=float(torch.tensor(said[1]).exp()),
        p=float(standing.log_prob[row].exp()),
        rank=int(standing.rank[row]),
        margin=margin,
        log_p=log_p,
    )


def pair_states(
    loaded: LoadedModel, rows: Rows, standing: Standing, *, greedy: bool = True
) -> list[PairState]:
    """What the model says for every pair; without `greedy` the tokens said stand for it."""
    return [
        _pair_state(loaded, pair, standing, rows.of_pair(index), greedy)
        for index, pair in enumerate(rows.pairs)
    ]


def _pair_state(
    loaded: LoadedModel, pair: Pair, standing: Standing, mine: slice, greedy: bool
) -> PairState:
    said = standing.said[mine]
    if greedy:
        found = continuation(loaded, pair.prompt_ids, len(pair.target_ids))
    else:
        found = torch.where(said, pair.target_ids, standing.rival[mine])
    return PairState(
        greedy=tuple(found.tolist()),
        greedy_exact=torch.equal(found, pair.target_ids),
        accuracy=float(said.float().mean()),
        log_p=float(standing.log_prob[mine].sum()),
        margin=float(standing.margin[mine].min()),
    )


def standing_of(loaded: LoadedModel, rows: Rows) -> Standing:
    """The margins of all wanted tokens with the weights as they are now."""
    with loaded.lock:
        return observe(loaded, rows).standing


def said_pairs(loaded: LoadedModel, rows: Rows) -> list[PairState]:
    """What the model says for every pair with the weights as they are now."""
    return pair_states(loaded, rows, standing_of(loaded, rows))


def exact(states: Sequence[PairState]) -> float:
    """Share of pairs whose target comes out greedily."""
    return sum(state.greedy_exact for state in states) / len(states)
