"""Attribution: how much each part of a prompt matters to what the model says next."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from jaxtyping import Int
from torch import Tensor

from lens_core.attribution.game import Game, Question, target_log_p
from lens_core.attribution.gradients import (
    Surface,
    expected_gradients,
    input_x_gradient,
    integrated_gradients,
)
from lens_core.attribution.occlusion import Found, occlusion
from lens_core.attribution.options import Options, Target
from lens_core.attribution.passes import Passes
from lens_core.attribution.result import Attribution, AttributionStep, floats
from lens_core.attribution.shapley import EXACT, MAX_ROWS, kernel_shap, shapley
from lens_core.attribution.task import Task, read_task
from lens_core.bounds import LARGEST_GAP
from lens_core.errors import InputError, NotExactError
from lens_core.models import LoadedModel
from lens_core.tokens import vocab_entries

SAMPLES = 25
"""Orders of features, and draws of expected gradients."""
COMPLETE = ("integrated_gradients", "gradient_shap", "shapley", "kernel_shap")
"""Methods whose scores should sum to the change of the value."""


def attribute(
    loaded: LoadedModel,
    ids: Int[Tensor, " position"],
    *,
    method: str = "occlusion",
    target: Target = None,
    foil: int | str | None = None,
    score: str | None = None,
    query: int = -1,
    features: str | Sequence[Sequence[int]] = "token",
    positions: Sequence[int] | None = None,
    specials: bool = False,
    occluder: str | None = None,
    replacement: int | str | None = None,
    window: int = 1,
    interactions: int = 0,
    samples: int | None = None,
    max_steps: int = 400,
    seed: int = 0,
    max_tokens: int | None = None,
) -> Attribution:
    """One score for every feature of the prompt, and how far the scores are from adding up.

    Args:
        loaded: the model.
        ids: token ids of the prompt [position].
        method: occlusion (Zeiler and Fergus, 2014); input_x_gradient; integrated_gradients
            (Sundararajan et al., 2017); gradient_shap (Erion et al., 2021); shapley, exact up to
            10 features (Castro et al., 2009); kernel_shap (Lundberg and Lee, 2017).
        target: what should come next, as text, a token id or several; None takes the most likely
            token. Of several tokens each is scored, given those before it.
        foil: a token that the target, then a single token, is held against.
        score: log_p of the target (nats, the default without a foil); contrast (logit of target
            minus foil, the default with one); kl of the next token against the unchanged prompt
            (nats); flip (1 where the next token becomes another one).
        query: the position after which the target comes; what is behind it is not run.
        features: "token", "cluster" (the tokens of one character), "word", "sentence", or spans of
            positions as pairs (first, behind the last).
        positions: attribute to features of these positions alone; everything else stays.
        specials: attribute to special tokens as well.
        occluder: knock_out (hidden from all other tokens; the default where a model allows it),
            replace, mean (the mean row of the embedding) or delete. For all methods but those
            with gradients.
        replacement: the token that replace puts there, and knock_out at the query, which cannot be
            hidden from itself; and the baseline of gradients. None takes a neutral one (end of
            text, unknown or a space), or the mean row where there is none.
        window: with occlusion, adjacent features that are removed together, at every place; a
            feature then has the mean over its windows.
        interactions: with occlusion, of how many features, the ones with the largest scores, pairs
            are measured, too; 0 for none.
        samples: orders of shapley (25), draws of gradient_shap (25, in steps of 5), sets of
            kernel_shap (twice the features plus 200).
        max_steps: integrated gradients start at 50 steps and double them up to this.
        seed: of what is drawn.
        max_tokens: refuse longer prompts.

    Raises:
        PromptError: ids that the model cannot take, or nothing to attribute to.
        InputError: an argument outside its range, or two that do not go together.
        NotExactError: the method would be wrong for this model.
    """
    arguments = {name: value for name, value in locals().items() if name not in ("loaded", "ids")}
    for found in attribute_steps(loaded, ids, **arguments):
        if isinstance(found, Attribution):
            return found
    raise AssertionError("the last step is the result")


def attribute_steps(
    loaded: LoadedModel,
    ids: Int[Tensor, " position"],
    *,
    method: str = "occlusion",
    target: Target = None,
    foil: int | str | None = None,
    score: str | None = None,
    query: int = -1,
    features: str | Sequence[Sequence[int]] = "token",
    positions: Sequence[int] | None = None,
    specials: bool = False,
    occluder: str | None = None,
    replacement: int | str | None = None,
    window: int = 1,
    interactions: int = 0,
    samples: int | None = None,
    max_steps: int = 400,
    seed: int = 0,
    max_tokens: int | None = None,
) -> Iterator[AttributionStep | Attribution]:
    """`attribute` with the scores known so far after every pass; the last item is the result.

    The arguments are those of `attribute`. The edits that hold at the first step must hold to the
    last.

    Raises:
        PromptError: ids that the model cannot take, or nothing to attribute to.
        InputError: an argument outside its range, or two that do not go together.
        NotExactError: the method would be wrong for this model.
    """
    arguments = {name: value for name, value in locals().items() if name not in ("loaded", "ids")}
    started = time.perf_counter()
    task = read_task(loaded, ids, **arguments)
    run = _run(loaded, task)
    while True:
        try:
            step = next(run)
        except StopIteration as stopped:
            question, log_p, found = stopped.value
            break
        yield replace(step, scores=_spread(task, step.scores))
    yield _result(loaded, task, question, log_p, found, time.perf_counter() - started)


_Running = Generator[AttributionStep, None, tuple[Question, np.ndarray, Found]]


def _run(loaded: LoadedModel, task: Task) -> _Running:
    """The method's steps, then the question as it was answered, log p, and what was found."""
    options = task.options
    if options.gradient:
        return (yield from _by_gradients(loaded, task))
    game, warnings = _game(loaded, task)
    if options.method == "occlusion":
        steps = occlusion(game, window=options.window, interactions=options.interactions)
    else:
        steps = _by_sets(game, options)
    found = yield from steps
    found = replace(found, warnings=(*warnings, *found.warnings))
    log_p = target_log_p(game.passes.original, game.question.target)
    return game.question, log_p.cpu().numpy(), found


def _by_sets(game: Game, options: Options) -> Generator[AttributionStep, None, Found]:
    """One of the two ways to Shapley values.

    Raises:
        InputError: it would take too many rows.
    """
    count = len(game.full)
    kernel = options.method == "kernel_shap"
    samples = options.samples or (2 * count + 200 if kernel else SAMPLES)
    rows = samples if kernel else samples * count
    if rows > MAX_ROWS and (kernel or count > EXACT):
        raise InputError(
            f"{samples} samples over {count} features are {rows} rows; the limit is {MAX_ROWS}. "
            "Take words or sentences as features, or fewer samples."
        )
    return (kernel_shap if kernel else shapley)(game, samples=samples, seed=options.seed)


def _game(loaded: LoadedModel, task: Task) -> tuple[Game, tuple[str, ...]]:
    """The values of sets of features, with a simpler occluder where the default is not exact.

    Raises:
        NotExactError: the chosen occluder is not exact.
        InputError: a replacement is needed, and there is no neutral token.
    """
    question = task.question
    if question.occluder == "replace" and question.replacement is None:
        raise InputError(
            "This model has no end-of-text, unknown or space token to put in place of another; "
            "give a replacement, or use the occluder mean or delete."
        )
    try:
        return Game(loaded, question), ()
    except NotExactError as error:
        if task.options.occluder is not None:
            raise
        simpler = "mean" if question.replacement is None else "replace"
        return Game(loaded, replace(question, occluder=simpler)), (
            f"{error} Here {simpler} was used.",
        )


def _by_gradients(loaded: LoadedModel, task: Task) -> _Running:
    options, question = task.options, task.question
    with loaded.lock:
        count = 1 if question.wanted is None else len(question.wanted)
        original = Passes(loaded, question.ids, n_targets=count, share=False).original
    question = question.settled(original)
    surface = Surface(loaded, question)
    if options.method == "input_x_gradient":
        steps = input_x_gradient(surface)
    elif options.method == "integrated_gradients":
        steps = integrated_gradients(
            surface, replacement=options.replacement, max_steps=options.max_steps
        )
    else:
        steps = expected_gradients(
            surface,
            replacement=options.replacement,
            samples=options.samples or SAMPLES,
            seed=options.seed,
        )
    found = yield from steps
    return question, target_log_p(original, question.target).cpu().numpy(), found


def _spread(task: Task, values: Any) -> Any:
    """Values of the features before the query, with 0 for those behind it."""
    if values is None:
        return None
    whole = np.zeros((*values.shape[:-1], len(task.features)), dtype=values.dtype)
    whole[..., list(task.inside)] = values
    return whole


def _result(
    loaded: LoadedModel,
    task: Task,
    question: Question,
    log_p: np.ndarray,
    found: Found,
    seconds: float,
) -> Attribution:
    options = task.options
    scores = floats(found.token_scores.sum(0))
    warnings = (*found.warnings, *_gap(options.method, scores, found))
    with loaded.lock:
        header = loaded.header(
            "attribution",
            seed=options.seed if options.sampled else None,
            timing={"total_s": seconds},
            warnings=warnings,
        )
    header["input"] = {"ids": task.ids.tolist(), "tokens": task.records}
    params = _params(task, question) | found.params
    baseline = params.get("baseline")
    named = [question.replacement, *(baseline if isinstance(baseline, list) else [baseline])]
    tokens = [*task.ids.tolist(), *question.target.tolist(), options.foil, *named]
    entries = vocab_entries(loaded.tokenizer, [t for t in tokens if isinstance(t, int)])
    pairs = found.interactions
    if pairs is not None:
        pairs = replace(pairs, features=np.array(task.inside)[pairs.features])
    several = len(question.target) > 1 and options.score == "log_p" and found.splits
    return Attribution(
        header=header,
        vocab={str(token): entry for token, entry in entries.items()},
        method=options.method,
        score=options.score,
        params=params,
        query=task.query,
        target_ids=question.target.numpy(),
        foil=options.foil,
        target_log_p=floats(log_p),
        features=task.features,
        scores=_spread(task, scores),
        token_scores=_spread(task, floats(found.token_scores)) if several else None,
        kl=_spread(task, found.kl),
        flips=_spread(task, found.flips),
        standard_errors=_spread(task, found.standard_errors),
        interactions=pairs,
        value=found.value,
        baseline_value=found.baseline_value,
        forwards=found.forwards,
    )


def _gap(method: str, scores: np.ndarray, found: Found) -> list[str]:
    """A warning where scores that should sum to the change of the value do not."""
    if method not in COMPLETE or found.baseline_value is None:
        return []
    total, change = float(scores.sum(dtype=np.float64)), found.value - found.baseline_value
    if abs(total - change) <= max(LARGEST_GAP * abs(change), 1e-6):
        return []
    return [
        f"The scores sum to {total:.3g}, and the value changes by {change:.3g}: do not trust "
        "single scores. More samples or steps, or another baseline, may close the gap; models "
        "that choose among experts jump where gradients see nothing."
    ]


def _params(task: Task, question: Question) -> dict[str, Any]:
    """The options that the method reads."""
    if task.options.gradient:
        return {}
    params: dict[str, Any] = {"occluder": question.occluder}
    if question.occluder in ("replace", "knock_out"):
        # None stands for the mean row.
        params["replacement"] = question.replacement
    if task.options.method == "occlusion":
        params["window"] = task.options.window
    return params
