"""How far two answers, or two distributions of which only a part is known, are apart."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence

from lens_core.remote.units import words

_LN2 = math.log(2)
_ORDER, _BETA = 6, 2.0
"""Of chrF: the longest n-grams, and how much recall counts (Popović, 2015)."""
_LEAST_LEFT = 1e-9
"""Probability that a list leaves at least, as far as its digits tell."""
_ROUNDS = 30
"""Of a search that leaves two thirds of an interval each time, 5e-6 of it at the end."""


def answer_distances(first: str, second: str) -> dict[str, float]:
    """Three distances of two answers, each 0 (equal) to 1.

    exact is 1 unless they are equal; edit counts words that have to be put in, taken out or
    exchanged, over the length of the longer one; chrf is 1 - chrF (Popović, 2015).
    """
    first, second = first.strip(), second.strip()
    return {
        "exact": float(first != second),
        "edit": edit_distance(_pieces(first), _pieces(second)),
        "chrf": 1.0 - chrf(first, second),
    }


def _pieces(text: str) -> list[str]:
    return [unit.text for unit in words(text)] or list(text)


def edit_distance(first: Sequence[str], second: Sequence[str]) -> float:
    """Levenshtein's distance over the length of the longer sequence."""
    row = list(range(len(second) + 1))
    for at, one in enumerate(first, 1):
        before, row[0] = row[0], at
        for other, two in enumerate(second, 1):
            changed = before + (one != two)
            before = row[other]
            row[other] = min(changed, row[other] + 1, row[other - 1] + 1)
    return row[-1] / max(len(first), len(second), 1)


def chrf(reference: str, other: str) -> float:
    """The F-score of character n-grams up to 6, white space left out, 0 to 1."""
    reference, other = ("".join(text.split()) for text in (reference, other))
    if reference == other:
        return 1.0
    precisions, recalls = [], []
    for n in range(1, _ORDER + 1):
        wanted, found = _grams(reference, n), _grams(other, n)
        if not wanted or not found:
            continue
        common = sum((wanted & found).values())
        precisions.append(common / sum(found.values()))
        recalls.append(common / sum(wanted.values()))
    if not precisions:
        return 0.0
    precision, recall = sum(precisions) / len(precisions), sum(recalls) / len(recalls)
    if precision + recall == 0:
        return 0.0
    return (1 + _BETA**2) * precision * recall / (_BETA**2 * precision + recall)


def _grams(text: str, n: int) -> Counter[str]:
    return Counter(text[at : at + n] for at in range(len(text) - n + 1))


def cosine_distance(first: Sequence[float], second: Sequence[float]) -> float:
    """One minus the cosine of two embeddings, 0 to 2."""
    product = sum(a * b for a, b in zip(first, second, strict=True))
    sizes = math.sqrt(sum(a * a for a in first) * sum(b * b for b in second))
    return 1.0 - product / sizes if sizes else 1.0


def unlisted_log_p(listed: Mapping[str, float]) -> float:
    """The most that a token can have that is not listed, as a logarithm, in nats.

    It is no likelier than the last of the list, nor than all that the list leaves.
    """
    left = 1.0 - sum(math.exp(value) for value in listed.values())
    # Lists are rounded: what they seem to leave can be nothing, or less.
    rest = math.log(max(left, _LEAST_LEFT))
    return min([0.0, rest, *listed.values()])


def js_bounds(first: Mapping[str, float], second: Mapping[str, float]) -> tuple[float, float]:
    """The least and the most that the Jensen-Shannon divergence can be, in nats, 0 to ln 2.

    Each distribution is known by the logarithms of its likeliest tokens. What both list counts
    exactly. The most is reached where all the rest lies apart; the least where as much of it as
    the lists allow lies together, in three buckets: listed in one, in the other, in neither.
    """
    p = {token: math.exp(value) for token, value in first.items()}
    q = {token: math.exp(value) for token, value in second.items()}
    both = p.keys() & q.keys()
    common = sum((_term(p[token], q[token]) for token in both), 0.0)
    rest_p, rest_q = (max(0.0, 1.0 - _total(one, both)) for one in (p, q))
    own_p = _total(p, p.keys() - q.keys())
    own_q = _total(q, q.keys() - p.keys())
    tail_p, tail_q = max(0.0, rest_p - own_p), max(0.0, rest_q - own_q)
    most_p = min(tail_p, len(q.keys() - p.keys()) * math.exp(unlisted_log_p(first)))
    most_q = min(tail_q, len(p.keys() - q.keys()) * math.exp(unlisted_log_p(second)))

    def apart(p_there: float, q_there: float) -> float:
        tails = _term(tail_p - p_there, tail_q - q_there)
        return _term(own_p, q_there) + _term(p_there, own_q) + tails

    def best(p_there: float) -> float:
        return _lowest(lambda q_there: apart(p_there, q_there), most_q)

    low = common + _lowest(best, most_p)
    high = common + 0.5 * _LN2 * (rest_p + rest_q)
    return max(0.0, min(low, high)), min(high, _LN2)


def _total(p: Mapping[str, float], tokens: Iterable[str]) -> float:
    return sum((p[token] for token in tokens), 0.0)


def _term(p: float, q: float) -> float:
    """What one token adds; jointly convex, and 0 where both are equal."""
    middle = 0.5 * (p + q)
    return 0.5 * sum((x * math.log(x / middle) for x in (p, q) if x > 0 and middle > 0), 0.0)


def _lowest(function: Callable[[float], float], most: float) -> float:
    """The least value of a convex function between 0 and `most`."""
    low, high = 0.0, most
    for _ in range(_ROUNDS):
        third = (high - low) / 3
        if function(low + third) <= function(high - third):
            high -= third
        else:
            low += third
    return min(function(0.5 * (low + high)), function(0.0), function(most))
