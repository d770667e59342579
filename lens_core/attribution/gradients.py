"""Attribution by gradients at the embeddings.

Input x gradient is the cheapest. Integrated gradients (Sundararajan et al., 2017) and expected
gradients, called GradientSHAP in Captum (Erion et al., 2021), go from a baseline to the prompt. The
baseline is the row of a token: with a zero row RMSNorm is singular, and paths from there do not
converge. Steps follow Gauss and Legendre, which never evaluate the ends, and double until the
scores sum to the change of the value.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from lens_core.attribution.game import Question, target_log_p
from lens_core.attribution.occluders import mean_row, neutral_token
from lens_core.attribution.occlusion import Found
from lens_core.attribution.result import AttributionStep, floats
from lens_core.attribution.shapley import seeded
from lens_core.errors import InputError, NotExactError
from lens_core.models import LoadedModel
from lens_core.network import last_logits_only
from lens_core.progress import tick

FIRST_STEPS = 50
TOLERANCE = 0.01
"""The completeness gap, relative to the change of the value, that is small enough."""
LEAST_NORM = 1e-3
"""Rows shorter than this are as good as zero (unused and padding tokens)."""
CPU_TOKENS, GPU_TOKENS = 1024, 16384
"""Tokens of one pass with its gradient."""
_DRAWS = 5
"""Samples of expected gradients in one call, so that their spread shows."""

Embeddings = Float[Tensor, "row position d_embed"]


class Surface:
    """The value of a prompt as a function of its embeddings."""

    def __init__(self, loaded: LoadedModel, question: Question) -> None:
        self.loaded = loaded
        self.question = question
        self.edits = loaded.active_edits
        self.rows_run = 0
        self.place = sorted(at for positions in question.features for at in positions)
        """The positions that change."""
        with torch.no_grad():
            ids = question.ids[None].to(loaded.device)
            self.inputs: Embeddings = loaded.model.get_input_embeddings()(ids).detach().float()
        size = CPU_TOKENS if loaded.device.type == "cpu" else GPU_TOKENS
        self.batch = max(1, size // len(question.ids))

    @property
    def parts(self) -> int:
        """How many values there are: one a target token."""
        return len(self.question.target)

    def with_row(self, row: Float[Tensor, " d_embed"]) -> Embeddings:
        """The embeddings with one row at every position that changes."""
        changed = self.inputs.clone()
        changed[:, self.place] = row.to(changed)
        return changed

    def values(self, embeddings: Embeddings) -> Float[Tensor, "row part"]:
        """The values of some variants, with their graph where gradients are recorded."""
        loaded, question = self.loaded, self.question
        self.rows_run += len(embeddings)
        ids = question.ids.to(loaded.device).expand(len(embeddings), -1)
        keep = dict.fromkeys(last_logits_only(loaded.model), self.parts)
        network: Any = loaded.model
        with _embedded(loaded, embeddings):
            logits = network(input_ids=ids, use_cache=False, **keep).logits
        logits = logits[:, -self.parts :].float()
        if question.score == "contrast":
            assert question.foil is not None
            return logits[:, 0, question.target[0], None] - logits[:, 0, question.foil, None]
        return target_log_p(logits, question.target)

    @torch.no_grad()
    def total(self, embeddings: Embeddings) -> float:
        """The sum of the values of one variant."""
        return float(self.values(embeddings).sum())

    def by_feature(self, maps: Float[Tensor, "part position d_embed"]) -> np.ndarray:
        """Scores [part, feature]: sums over the positions of each feature."""
        at = maps.detach().double().sum(-1).cpu().numpy()
        return np.stack([at[:, list(p)].sum(1) for p in self.question.features], 1)

    @contextmanager
    def running(self) -> Iterator[None]:
        """The model's lock, for one step.

        Raises:
            InputError: the edits have changed since the first.
        """
        with self.loaded.lock:
            if self.loaded.active_edits != self.edits:
                raise InputError("The edits have changed since the first pass; keep them for all.")
            yield

    def gradients(self) -> Float[Tensor, "part position d_embed"]:
        """The gradient of every value at the prompt.

        Raises:
            NotExactError: it is zero or not finite, as behind some quantised weights.
        """
        at = self.inputs.clone().requires_grad_()
        with torch.enable_grad():
            values = self.values(at)[0]
            # Not backward(): it would leave a gradient on every weight of the shared model.
            found = [
                torch.autograd.grad(value, at, retain_graph=index + 1 < self.parts)[0][0]
                for index, value in enumerate(values)
            ]
        maps = torch.stack(found)
        if not torch.isfinite(maps).all() or not maps.any():
            raise NotExactError(
                f"The gradient at the embeddings of {self.loaded.facts.id} is zero or not finite, "
                "so methods that use it would be wrong; use occlusion or shapley."
            )
        return maps


@contextmanager
def _embedded(loaded: LoadedModel, embeddings: Embeddings) -> Iterator[None]:
    """The model reads these embeddings in place of its own, for the block."""

    def replaced(module: nn.Module, args: tuple[Any, ...], output: Tensor) -> Tensor:
        return embeddings.to(output.dtype)

    handle = loaded.model.get_input_embeddings().register_forward_hook(replaced)
    try:
        yield
    finally:
        handle.remove()


def input_x_gradient(surface: Surface) -> Generator[AttributionStep, None, Found]:
    """Each embedding times the gradient there; its gap is against embeddings of zero."""
    with surface.running():
        maps = surface.gradients() * surface.inputs
        zero = surface.total(surface.with_row(torch.zeros(surface.inputs.shape[-1])))
        value = surface.total(surface.inputs)
    scores = surface.by_feature(maps)
    yield AttributionStep(1, 1, floats(scores.sum(0)))
    return Found(scores, value, zero, surface.rows_run, params={"baseline": "zero"})


def integrated_gradients(
    surface: Surface, *, replacement: int | None, max_steps: int
) -> Generator[AttributionStep, None, Found]:
    """Integrated gradients, with twice the steps until the gap is at most 1 %."""
    from captum.attr import IntegratedGradients

    with surface.running():
        surface.gradients()
        name, row = baseline_rows(surface.loaded, replacement)[0]
        baseline = surface.with_row(row)
        value, start = surface.total(surface.inputs), surface.total(baseline)
    method = IntegratedGradients(surface.values)
    steps = min(FIRST_STEPS, max_steps)
    while True:
        maps = []
        for part in range(surface.parts):
            with surface.running():
                found = method.attribute(
                    surface.inputs,
                    baselines=baseline,
                    target=part,
                    n_steps=steps,
                    method="gausslegendre",
                    internal_batch_size=surface.batch,
                )
            maps.append(found[0])
            tick("row", part + 1, surface.parts)
        scores = surface.by_feature(torch.stack(maps))
        gap = abs(float(scores.sum()) - (value - start))
        yield AttributionStep(steps, max_steps, floats(scores.sum(0)))
        if gap <= TOLERANCE * abs(value - start) or 2 * steps > max_steps:
            break
        steps *= 2
    params = {"baseline": name, "steps": steps}
    return Found(scores, value, start, surface.rows_run, params=params)


def expected_gradients(
    surface: Surface, *, replacement: int | None, samples: int, seed: int
) -> Generator[AttributionStep, None, Found]:
    """Gradients at random places on the way from several baselines (GradientSHAP)."""
    from captum.attr import GradientShap

    with surface.running():
        surface.gradients()
        rows = baseline_rows(surface.loaded, replacement)
        baselines = torch.cat([surface.with_row(row) for _, row in rows])
        value = surface.total(surface.inputs)
        start = float(np.mean([surface.total(one[None]) for one in baselines]))
    method = GradientShap(surface.values)
    draws: list[np.ndarray] = []
    calls = -(-samples // _DRAWS)
    seeds = np.random.default_rng(seed).integers(2**31, size=calls)
    for index in range(calls):
        with surface.running(), seeded(int(seeds[index])):
            maps = [
                method.attribute(
                    surface.inputs, baselines=baselines, n_samples=_DRAWS, target=part
                )[0]
                for part in range(surface.parts)
            ]
        draws.append(surface.by_feature(torch.stack(maps)))
        tick("row", index + 1, calls)
        yield AttributionStep(index + 1, calls, floats(np.mean(draws, 0).sum(0)))
    found = np.array(draws)
    errors = found.sum(1).std(0, ddof=1) / calls**0.5 if calls > 1 else None
    return Found(
        found.mean(0),
        value,
        start,
        surface.rows_run,
        standard_errors=None if errors is None else floats(errors),
        params={"baseline": [name for name, _ in rows], "samples": calls * _DRAWS},
    )


def baseline_rows(
    loaded: LoadedModel, replacement: int | None
) -> list[tuple[int | str, Float[Tensor, " d_embed"]]]:
    """Rows to start from, best first: a chosen token alone, or a neutral one and the mean.

    Raises:
        InputError: the row of the chosen token is as good as zero.
    """
    embed: Callable[[Tensor], Tensor] = loaded.model.get_input_embeddings()

    def row(token: int) -> Tensor:
        with torch.no_grad():
            return embed(torch.tensor([token], device=loaded.device))[0].detach().float()

    if replacement is not None:
        chosen = row(replacement)
        if float(chosen.norm()) < LEAST_NORM:
            raise InputError(
                f"The embedding of token {replacement} has length {float(chosen.norm()):.1e}, as "
                f"good as zero (the least is {LEAST_NORM:g}), where norms are singular; choose "
                "another token."
            )
        return [(replacement, chosen)]
    token = neutral_token(loaded)
    named: list[tuple[int | str, Tensor]] = [("mean", mean_row(loaded))]
    if token is not None and float(row(token).norm()) >= LEAST_NORM:
        named.insert(0, (token, row(token)))
    return named
