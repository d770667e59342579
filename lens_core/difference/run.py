"""Minimal pairs compared: activations by layer and by dim, with tests that hold."""

from __future__ import annotations

import time
from collections.abc import Collection, Generator, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lens_core.difference.collecting import Collected, collect
from lens_core.difference.dimensions import SiteStates, SiteTests, site_tests, top_shares
from lens_core.difference.findings import Findings, findings
from lens_core.difference.metrics import METRICS, recovery
from lens_core.difference.options import (
    Options,
    checked_options,
    require_lens,
    site_key,
)
from lens_core.difference.permutations import layer_test, sign_flips
from lens_core.difference.reading import PairOrAligned
from lens_core.difference.result import Compared, PairDifference, PairStep
from lens_core.difference.sites import layout_of
from lens_core.difference.store import StateFile, checked_folder, keep_states, state_file
from lens_core.difference.summary import COMPARED, comparisons_of, groups_of
from lens_core.difference.units import Design, design
from lens_core.models import LoadedModel
from lens_core.progress import tick


def pair_difference(
    loaded: LoadedModel,
    pairs: Iterable[PairOrAligned],
    *,
    layers: Sequence[int] | None = None,
    readout: str = "last",
    components: Collection[str] = ("resid_post",),
    control: bool = True,
    halves: bool = True,
    lens: bool = True,
    q: float = 0.1,
    alpha: float = 0.05,
    correction: str = "bh",
    seed: int = 0,
    batch_tokens: int | None = None,
    keep: str | Path | None = None,
    max_tokens: int | None = None,
    template: str | None = None,
    special: str = "default",
    resume: str | Path | None = None,
    same_positions: bool = False,
) -> PairDifference:
    """How the activations of minimal pairs differ, by layer and by dim.

    Args:
        loaded: the model.
        pairs: any iterable of `Pair`, or of (`Pair`, `Alignment`) that are aligned already; read
            once, a few at a time.
        layers: 0 to L-1, and -1 for the embedding; None for all of them.
        readout: where both sides are read: "last" (what the next token is predicted from), "edit"
            (mean over the edit), "edit_last", "suffix" (mean over what follows the edit) or
            "prefix" (right before the edit, where both are equal by causality).
        components: resid_post (the stream after each block), attn_out, mlp_out, resid_mid (the
            stream after attention), mlp_act (neurons: what the MLP's down projection reads), heads
            (what the attention's output projection reads, head behind head); and, once each, the
            last state after the final_norm, and the logits, which have metrics and are neither
            tested by dim nor kept.
        control: run the negative control; without it the test by dim finds nothing.
        halves: look at discoveries of one half of the units again in the other.
        lens: read every state as a prediction, for the divergences; takes about as long as the
            blocks do where the vocabulary is large.
        q: the share of least responsive dims that counts as a hit.
        alpha: the share of false discoveries that is allowed.
        correction: "bh" or "by", which allows for any dependence between dims.
        seed: of mismatched pairs, halves, permutations and bootstrap.
        batch_tokens: tokens of a batch, padding included; None chooses by the device.
        keep: a folder to write the states to, as acts.f16.npy with acts.json.
        max_tokens: leave longer texts out.
        template: as in `LoadedModel.tokenize`.
        special: as in `LoadedModel.tokenize`.
        resume: a folder of finished windows of pairs: what is there of the same run, however it
            ended, is not run again, and what is run is put there.
        same_positions: where an edit is shorter on one side, let what follows stand at the
            positions of the other side, by explicit position ids with a gap; for models with
            absolute positions, where a shift alone changes the states.

    Raises:
        InputError: an argument outside its range, or no pair that can be compared.
        NotExactError: the states or components would not be exact in this model.
    """
    arguments = {name: value for name, value in locals().items() if name not in ("loaded", "pairs")}
    for step in pair_difference_steps(loaded, pairs, **arguments):
        if isinstance(step, PairDifference):
            return step
    raise AssertionError("the last step is the result")


def pair_difference_steps(
    loaded: LoadedModel,
    pairs: Iterable[PairOrAligned],
    *,
    layers: Sequence[int] | None = None,
    readout: str = "last",
    components: Collection[str] = ("resid_post",),
    control: bool = True,
    halves: bool = True,
    lens: bool = True,
    q: float = 0.1,
    alpha: float = 0.05,
    correction: str = "bh",
    seed: int = 0,
    batch_tokens: int | None = None,
    keep: str | Path | None = None,
    max_tokens: int | None = None,
    template: str | None = None,
    special: str = "default",
    resume: str | Path | None = None,
    same_positions: bool = False,
) -> Iterator[PairStep | PairDifference]:
    """`pair_difference` with what is done after every window of pairs and every site.

    The last item is the result. The arguments are those of `pair_difference`. The edits that hold
    at the first step must hold until all pairs are read.

    Raises:
        InputError: an argument outside its range, or no pair that can be compared.
        NotExactError: the states or components would not be exact in this model.
    """
    arguments = {name: value for name, value in locals().items() if name not in ("loaded", "pairs")}
    started = time.perf_counter()
    options = _options(loaded, arguments)
    with state_file(layout_of(loaded, options.tested)) as states:
        collected = yield from collect(loaded, pairs, options, states)
        header = loaded.header("pair_difference", seed=options.seed)
        run_s = time.perf_counter() - started
        if options.keep is not None:
            _keep(loaded, options.keep, collected, options, states)
        plan = design(collected.keys, seed=options.seed)
        metrics = _all_metrics(collected, options)
        found = yield from _by_dim(states, plan, options, metrics)
    header["timing"] = {"run_s": run_s, "total_s": time.perf_counter() - started}
    yield _result(loaded, header, collected, options, plan, metrics, found)


def _by_dim(
    states: StateFile, plan: Design, options: Options, metrics: dict[str, np.ndarray]
) -> Generator[PairStep, None, Findings | None]:
    """Test every dim of every site, and fill in the metrics that need all pairs.

    None where all pairs have equal sides, or no site is tested.
    """

    def site_at(at: int) -> SiteStates:
        # Mapped anew each time, so that what was read of the file is let go of with the site.
        return SiteStates(states.site(at), plan)

    count = len(options.tested)
    tests: list[SiteTests] = []
    signs = sign_flips(plan.n_units, seed=options.seed)
    how = {"q": options.q, "control": options.control, "halves": options.halves, "signs": signs}
    for at in range(count):
        site = site_at(at)
        sizes = np.zeros(site.width, np.float32)
        if plan.n_units:
            tests.append(site_tests(site, **how))
            sizes = tests[-1].profile.size
        shares = top_shares(site.states, sizes)
        metrics["top_share"][:, at], metrics["top_share_without_massive"][:, at] = shares
        tick("layer", at + 1, count)
        yield PairStep("dimensions", at + 1, count)
    return findings(site_at, tests, options) if tests else None


def _options(loaded: LoadedModel, arguments: dict[str, Any]) -> Options:
    """The arguments, checked; the lens only where it is exact."""
    reads = arguments["lens"] and require_lens(loaded) is None
    options = checked_options(loaded, **{**arguments, "lens": reads})
    if options.keep is not None:
        checked_folder(options.keep)
    return options


def _all_metrics(collected: Collected, options: Options) -> dict[str, np.ndarray]:
    """The metrics so far, with room for those that need all pairs."""
    found = collected.metrics()
    shape = found["rel_l2"].shape
    found |= {name: np.full(shape, np.nan, np.float32) for name in METRICS if name not in found}
    stream = [at for at, (component, _) in enumerate(options.sites) if component == "resid_post"]
    if stream:
        found["recovery"][:, stream] = recovery(found["rel_l2"][:, stream])
    return found


def _keep(
    loaded: LoadedModel, folder: Path, collected: Collected, options: Options, states: StateFile
) -> None:
    index = {
        "model": loaded.facts.header(),
        "readout": options.readout,
        "pairs": [one.pair.to_json() for one in collected.ready],
    }
    keep_states(states, folder, options.tested, index=index)


def _result(
    loaded: LoadedModel,
    header: dict[str, Any],
    collected: Collected,
    options: Options,
    plan: Design,
    metrics: dict[str, np.ndarray],
    found: Findings | None,
) -> PairDifference:
    pairs = [one.pair for one in collected.ready]
    header["input"] = {
        "n_pairs": len(pairs) + len(collected.left_out),
        "n_compared": len(pairs),
        "n_distinct": len(plan.distinct),
        "device": loaded.facts.device,
        "options": options.to_json(),
    }
    header["warnings"] += _warnings(loaded, collected, found)
    per_unit = plan.unit_means(metrics[COMPARED][plan.distinct].astype(np.float64))
    layers = [layer if component == "resid_post" else None for component, layer in options.sites]
    return PairDifference(
        header=header,
        pairs=tuple(
            Compared(one.pair, one.alignment, int(unit))
            for one, unit in zip(collected.ready, plan.of_pair, strict=True)
        ),
        left_out=tuple(collected.left_out),
        sites=tuple(site_key(site) for site in options.sites),
        layers=tuple(layer for _, layer in options.sites),
        components=tuple(component for component, _ in options.sites),
        readout=options.readout,
        metrics={name: metrics[name] for name in METRICS},
        groups=groups_of(metrics, pairs, plan),
        comparisons=comparisons_of(metrics[COMPARED], pairs, plan, seed=options.seed),
        layer_test=layer_test(per_unit, layers, seed=options.seed),
        dims={} if found is None else found.dims,
        found=() if found is None else found.found,
        control=None if found is None else found.control,
        replication=None if found is None else found.replication,
        n_units=plan.n_units,
        verdict=_nothing(plan) if found is None else found.verdict,
        prefix_rel_err=collected.prefix_rel_err,
    )


def _nothing(plan: Design) -> str:
    """Why nothing was tested."""
    if plan.n_units:
        return "Only logits were compared, and the small-change test is one of dims of states."
    return "All pairs have equal sides."


def _warnings(loaded: LoadedModel, collected: Collected, found: Findings | None) -> list[str]:
    said = []
    if collected.left_out:
        said.append(f"{len(collected.left_out)} pairs were left out; the result lists why.")
    shifted = sum(one.alignment.shift != 0 for one in collected.ready)
    if shifted:
        gaps = any(one.positions != (None, None) for one in collected.ready)
        where = (
            "the shorter edit is followed by a gap, so that what comes behind it stands at the "
            "same positions."
            if gaps
            else "so that what follows the edit stands at other positions."
        )
        said.append(f"{shifted} pairs have sides of unequal length, {where}")
    error, bound = collected.prefix_rel_err, loaded.self_check.bound
    if error is not None and not error <= bound:
        said.append(
            f"Right before the edit the sides differ by {error:.1e}, and the bound is {bound:.0e}: "
            "what comes later acts on this model's states, or batches change them."
        )
    if found is not None and found.control is not None and not found.control.supported:
        said.append(found.verdict)
    return said
