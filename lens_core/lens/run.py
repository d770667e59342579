"""One forward pass for the lens, which can be kept and read again and again."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lens_core.errors import InputError
from lens_core.lens.generation import Sampling, generate_ids
from lens_core.lens.rows import summarise
from lens_core.models import LoadedModel, ModelFacts, check_ids
from lens_core.trace import SITES, Trace, capture_streams, forward

MAX_LOGITS_BYTES = 128 * 2**20
"""The model's own logits of all positions, up to which they are taken instead of read again."""


@dataclass(frozen=True, eq=False)
class Prediction:
    """The model's own prediction after each position."""

    ids: Int[Tensor, " position"]
    p: Float[Tensor, " position"]


@dataclass(frozen=True, eq=False)
class LensRun:
    """What `logit_lens` needs of a forward pass, to read it in other ways without another pass."""

    facts: ModelFacts
    """The model that ran."""
    edits: tuple[tuple[str, float], ...]
    """(edit id, strength) of the edits it ran under."""
    sampling: Sampling
    n_prompt: int
    """Tokens of the prompt; the rest were generated."""
    trace: Trace
    prediction: Prediction

    @property
    def ids(self) -> Int[Tensor, " position"]:
        """Prompt and generated tokens."""
        return self.trace.ids

    @property
    def sites(self) -> tuple[str, ...]:
        """The sites that can be read from it."""
        return ("resid_pre", "resid_post") if self.trace.attn is None else SITES

    @property
    def nbytes(self) -> int:
        """Size of the tensors that it keeps."""
        return self.trace.nbytes + self.prediction.ids.nbytes + self.prediction.p.nbytes


@torch.no_grad()
def lens_run(
    loaded: LoadedModel,
    ids: Int[Tensor, " position"],
    *,
    parts: bool = True,
    generate: int = 0,
    temperature: float = 0.0,
    top_p: float = 1.0,
    top_k: int = 0,
    seed: int = 0,
    max_tokens: int | None = None,
) -> LensRun:
    """Run the model once, for any number of calls of `logit_lens` with the same prompt and edits.

    Args:
        loaded: the model.
        ids: token ids of the prompt [position].
        parts: also keep resid_mid, attn_out and mlp_out, where they are exact: four times the
            memory. Without them neither can be read, nor any attribution be worked out.
        generate: tokens to generate first.
        temperature: 0 takes the most likely token, otherwise samples.
        top_p: the nucleus to sample from.
        top_k: sample among the k most likely; 0 for all.
        seed: of the sampling.
        max_tokens: refuse longer prompts.

    Raises:
        PromptError: ids that the model cannot take.
        InputError: an argument outside its range.
        NotExactError: the readout of this model does not reproduce its logits.
    """
    loaded.require("readout")
    loaded.require("states")
    sampling = Sampling(generate, temperature, top_p, top_k, seed)
    prompt = check_ids(loaded, ids, max_tokens=max_tokens, new_tokens=generate)
    exact = loaded.self_check.reason_off("streams") is None
    with loaded.lock:
        return fresh_run(loaded, prompt, sampling, parts=parts and exact)


def fresh_run(
    loaded: LoadedModel, prompt: Int[Tensor, " position"], sampling: Sampling, *, parts: bool
) -> LensRun:
    """`lens_run` without its checks, for whoever holds the lock."""
    ids = generate_ids(loaded, prompt, sampling)
    trace, prediction = _pass(loaded, ids, SITES if parts else ())
    return LensRun(loaded.facts, loaded.active_edits, sampling, len(prompt), trace, prediction)


def check_run(
    run: LensRun, loaded: LoadedModel, prompt: Int[Tensor, " position"], sampling: Sampling
) -> None:
    """Refuse a run of anything else than is asked for.

    Raises:
        InputError: says what differs.
    """
    problem = None
    if run.facts != loaded.facts:
        problem = f'of the model "{run.facts.id}", and this is "{loaded.facts.id}"'
        if run.facts.id == loaded.facts.id:
            problem = f'of another copy of the model "{run.facts.id}" (weights, dtype or device)'
    elif not torch.equal(run.ids[: run.n_prompt], prompt):
        problem = f"of another prompt, of {run.n_prompt} tokens; this one has {len(prompt)}"
    elif _drawn(run.sampling) != _drawn(sampling):
        problem = f"one that generated {_drawn(run.sampling)}; asked for is {_drawn(sampling)}"
    elif run.edits != loaded.active_edits:
        problem = f"under the edits {_named(run.edits)}; now {_named(loaded.active_edits)} hold"
    if problem is not None:
        raise InputError(f"The run is {problem}. Make a new one with lens_run, or leave it out.")


def _drawn(sampling: Sampling) -> str:
    settings = sampling.to_json()
    if settings is None:
        return "nothing"
    how = ", ".join(f"{name} {value}" for name, value in settings.items())
    return f"up to {sampling.new_tokens} tokens with {how}"


def _named(edits: tuple[tuple[str, float], ...]) -> str:
    return ", ".join(f"{key} at strength {strength}" for key, strength in edits) or "none"


def _pass(loaded: LoadedModel, ids: Tensor, sites: tuple[str, ...]) -> tuple[Trace, Prediction]:
    """The stream, and what the model itself predicts."""
    if 4 * len(ids) * loaded.facts.vocab_size > MAX_LOGITS_BYTES:
        trace = capture_streams(loaded.model, loaded.anatomy, ids, sites, logits="none")
        return trace, _read_prediction(loaded, trace)
    found: list[Prediction] = []

    def run() -> Tensor:
        # Reduced at once: the logits of all positions are larger than everything that is kept.
        logits = forward(loaded.model, ids)
        best = logits.max(-1)
        total = torch.stack([row.float().logsumexp(0) for row in logits])
        found.append(Prediction(best.indices.cpu(), (best.values.float() - total).exp().cpu()))
        return logits[:0]

    trace = capture_streams(
        loaded.model, loaded.anatomy, ids, sites, logits="none", forward_pass=run
    )
    return trace, found[0]


def _read_prediction(loaded: LoadedModel, trace: Trace) -> Prediction:
    """The prediction read from the final states, where the model's own logits would be too many."""
    none = torch.zeros(len(trace.ids), 0, dtype=torch.long)
    found = summarise(loaded.readout, trace.stream[-1:], k=1, targets=none)
    return Prediction(found.top_ids[:, 0].cpu(), found.top_p[:, 0].cpu())
