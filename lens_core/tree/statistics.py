"""How often each head and each MLP takes part in the trees of many prompts, and how much.

The activation frequencies of information flow routes (Ferrando & Voita, 2024, arXiv 2403.00824),
counted by prompt. Intervals hold 95 %: Wilson's for frequencies, Student's for means; they say how
far other prompts of the same kind may lie, and nothing about other kinds.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lens_core.amounts import Measure
from lens_core.errors import InputError, PromptError
from lens_core.models import LoadedModel, check_ids
from lens_core.progress import tick, while_done
from lens_core.tree.activity import PromptActivity, prompt_activity, skipped
from lens_core.tree.frequencies import GraphStatistics, Sums
from lens_core.tree.influence import influence
from lens_core.tree.nodes import Codes
from lens_core.tree.options import ALL, Weighing, measured, root_nodes, weighing
from lens_core.tree.rows import RowSource
from lens_core.tree.run import graph_run
from lens_core.tree.visiting import visit


@dataclass(frozen=True, eq=False)
class StatisticsStep:
    """One prompt that was just read."""

    done: int
    """Prompts that are read, those left out included."""
    total: int
    activity: PromptActivity


@dataclass(frozen=True)
class _Plan:
    """The arguments that hold for all prompts."""

    root: int | str | tuple[int | str, ...]
    metric: str
    bias: str
    threshold: int | float
    mode: str
    template: str | None
    special: str
    max_tokens: int | None

    def weighing(self, measure: Measure) -> Weighing:
        return weighing(
            measure,
            bias=self.bias,
            threshold=self.threshold,
            mode=self.mode,
            renormalise=None,
            merge_self=False,
        )

    def to_json(self) -> dict[str, Any]:
        """By the names of the schema."""
        options = self.weighing(_measure(self.metric))
        return {
            "root": list(self.root) if isinstance(self.root, tuple) else self.root,
            "metric": self.metric,
            "granularity": "head",
            "bias": self.bias,
            "numerics": "clean",
            "threshold": {
                "tau": options.threshold,
                "mode": options.mode,
                "renormalise": options.renormalise,
                "merge_self": False,
            },
            "template": self.template,
            "special": self.special,
        }


def graph_statistics(
    loaded: LoadedModel,
    prompts: Sequence[str | Tensor],
    *,
    root: int | str | Sequence[int | str] = -1,
    threshold: int | float = 0.04,
    mode: str = "per_part",
    bias: str = "part",
    metric: str = "l1",
    template: str | None = None,
    special: str = "default",
    max_tokens: int | None = None,
    known: Iterable[PromptActivity] = (),
) -> GraphStatistics:
    """How often each head and MLP is active in the trees of many prompts, and how much they add.

    Prompts that cannot be read (empty, too long, shorter than the root asks for) are left out,
    and the result says why.

    Args:
        loaded: the model.
        prompts: texts, or token ids [position].
        root: what the trees explain; see `contribution_graph`.
        threshold: shares up to it are left out, 0 to 1.
        mode: "per_part" or "per_edge".
        bias: "part" or "ignore".
        metric: l1, l2, projection, norm, or logit (of each prompt's own prediction).
        template: None for plain text, "chat" for one turn of the user.
        special: special tokens added to texts: default, none or bos.
        max_tokens: leave longer prompts out.
        known: prompts that were read before; they are not read again.

    Raises:
        InputError: an argument outside its range, or no prompt that can be read.
        NotExactError: this model cannot be taken apart into heads exactly.
    """
    steps = graph_statistics_steps(
        loaded, prompts, root=root, threshold=threshold, mode=mode, bias=bias, metric=metric,
        template=template, special=special, max_tokens=max_tokens, known=known,
    )  # fmt: skip
    (result,) = deque(steps, maxlen=1)
    assert isinstance(result, GraphStatistics)
    return result


def graph_statistics_steps(
    loaded: LoadedModel,
    prompts: Sequence[str | Tensor],
    *,
    root: int | str | Sequence[int | str] = -1,
    threshold: int | float = 0.04,
    mode: str = "per_part",
    bias: str = "part",
    metric: str = "l1",
    template: str | None = None,
    special: str = "default",
    max_tokens: int | None = None,
    known: Iterable[PromptActivity] = (),
) -> Iterator[StatisticsStep | GraphStatistics]:
    """`graph_statistics`, one prompt after another; the last item is the result.

    The arguments are those of `graph_statistics`.

    Raises:
        InputError: an argument outside its range, or no prompt that can be read.
        NotExactError: this model cannot be taken apart into heads exactly.
    """
    started = time.perf_counter()
    several = isinstance(root, (list, tuple))
    plan = _Plan(
        tuple(root) if several else root,  # pyright: ignore[reportArgumentType]
        metric, bias, threshold, mode, template, special, max_tokens,
    )  # fmt: skip
    _check(loaded, plan, prompts)
    edits, sums = loaded.active_edits, Sums(loaded.n_layers, loaded.facts.n_heads)
    total = len(prompts)
    for activity in known:
        if activity.index < total:
            sums.add(activity)
    for index, prompt in enumerate(prompts):
        if index in sums.seen:
            continue
        if loaded.active_edits != edits:
            raise InputError("The edits have changed since the first prompt; keep them for all.")
        sums.add(found := _read(loaded, plan, index, prompt, done=(len(sums.seen), total)))
        yield StatisticsStep(len(sums.seen), total, found)
    yield sums.result(loaded, plan.to_json(), {"total_s": time.perf_counter() - started})


def _measure(metric: str) -> Measure:
    """The measure without the token of a "logit", which each prompt brings."""
    return Measure(metric)


def _check(loaded: LoadedModel, plan: _Plan, prompts: Sequence[Any]) -> None:
    """Refuse at once what would fail for every prompt.

    Raises:
        InputError: an argument outside its range.
        NotExactError: this model cannot be taken apart.
    """
    loaded.require("streams")
    loaded.require("heads")
    plan.weighing(_measure(plan.metric))
    if plan.metric == "logit":
        loaded.require("attribution")
    if isinstance(prompts, str) or not len(prompts):
        raise InputError(f"prompts is {prompts!r}; give a list of at least one text.")
    if plan.root != ALL:
        root_nodes(loaded, plan.root, loaded.facts.max_positions or 2**31)


def _read(
    loaded: LoadedModel,
    plan: _Plan,
    index: int,
    prompt: str | Tensor,
    *,
    done: tuple[int, int],
) -> PromptActivity:
    """What is active in the tree of one prompt, or why there is none."""
    sizes = {"n_layers": loaded.n_layers, "n_heads": loaded.facts.n_heads}
    try:
        with while_done("prompt", *done):
            found = _activity(loaded, plan, index, prompt, sizes=sizes)
    except (PromptError, InputError) as error:
        # All other arguments are checked by now, so it is about this prompt.
        found = skipped(index, str(error), **sizes)
    tick("prompt", done[0] + 1, done[1])
    return found


@torch.no_grad()
def _activity(
    loaded: LoadedModel, plan: _Plan, index: int, prompt: str | Tensor, *, sizes: dict[str, int]
) -> PromptActivity:
    if isinstance(prompt, str):
        prompt = loaded.tokenize(prompt, template=plan.template, special=plan.special)
    ids = check_ids(loaded, prompt, max_tokens=plan.max_tokens)
    roots = root_nodes(loaded, plan.root, len(ids))
    positions = {node.position for node in roots}
    with loaded.lock:
        run = graph_run(loaded, ids)
        measure = measured(
            loaded, run, positions.pop() if len(positions) == 1 else None,
            metric=plan.metric, numerics="clean", target=None, foil=None,
        )  # fmt: skip
        options = plan.weighing(measure)
        found = visit(RowSource(loaded, run, measure), options, roots, max_heads=sizes["n_heads"])
    flow = influence(found, len(ids), magnitude=plan.metric == "logit")
    codes = Codes(len(ids))
    return prompt_activity(index, found, flow, options=options, codes=codes, **sizes)
