"""Trains the demo models from scratch on text that `demo_corpus` generates.

    python scripts/train_demo_models.py --out demo_models/base

The optimiser is Muon for the matrices inside the blocks (Jordan et al., 2024) and AdamW for the
rest. A run that was killed goes on from its last checkpoint in `build/`; the same seed draws the
same batches either way.
"""

import json
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from demo_corpus.mixture import RECIPES, stage_at, tokenizer_sample
from demo_corpus.packing import Batch, make_batch
from demo_corpus.tokenizer import special_ids, train_tokenizer
from torch import nn
from torch.nn.functional import cross_entropy
from transformers import (
    AutoTokenizer,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
)

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Settings:
    """The dials of a run; all of them are written into the training record."""

    recipe: str
    seed: int
    steps: int
    share: float = 1.0
    """Share of the recipe that the steps are; less than 1 in trial runs."""
    short_row: int = 64
    long_row: int = 256
    long_every: int = 10
    """Every so many steps the rows are long, so that long prompts stay familiar."""
    learning_rate: float = 5e-3
    vocabulary: int = 3712


@dataclass
class Run:
    """The state that a checkpoint stores."""

    model: Qwen2ForCausalLM
    optimizers: list[torch.optim.Optimizer]
    step: int = 0
    tokens: int = 0
    seconds: float = 0.0


def new_model(tokenizer: PreTrainedTokenizerFast) -> Qwen2ForCausalLM:
    """A fresh Qwen2 of about 1.6 million parameters."""
    start, end = special_ids(tokenizer)
    config = Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=128,
        intermediate_size=384,
        num_hidden_layers=6,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        bos_token_id=start,
        eos_token_id=end,
        pad_token_id=end,
    )
    return Qwen2ForCausalLM(config)


def make_optimizers(model: Qwen2ForCausalLM, learning_rate: float) -> list[torch.optim.Optimizer]:
    """Muon for the block matrices, AdamW for the embedding, biases and norms."""
    matrices = [p for name, p in model.named_parameters() if p.ndim == 2 and "embed" not in name]
    others = [p for name, p in model.named_parameters() if p.ndim != 2 or "embed" in name]
    return [
        torch.optim.Muon(
            matrices, lr=learning_rate, weight_decay=0.05, adjust_lr_fn="match_rms_adamw"
        ),
        torch.optim.AdamW(others, lr=learning_rate, weight_decay=0.0, betas=(0.9, 0.98)),
    ]


def learning_rate_factor(run: Run, settings: Settings) -> float:
    """Where the step lies on the straight lines of the recipe."""
    steps, factors = zip(*RECIPES[settings.recipe].rates, strict=True)
    return float(np.interp(run.step / settings.share, steps, factors))


def weighted_loss(model: Qwen2ForCausalLM, batch: Batch) -> torch.Tensor:
    """Cross entropy in nats, averaged with the weight of each predicted token."""
    with torch.autocast("cpu", dtype=torch.bfloat16):
        hidden = model.model(
            input_ids=batch.input_ids, attention_mask=batch.attention_mask
        ).last_hidden_state
        weights = batch.weights[:, 1:]
        predicted = weights > 0
        logits = model.lm_head(hidden[:, :-1][predicted])
    losses = cross_entropy(logits.float(), batch.input_ids[:, 1:][predicted], reduction="none")
    return (losses * weights[predicted]).sum() / weights.sum()


def train_step(run: Run, batch: Batch, settings: Settings) -> float:
    """One update; the loss before it."""
    factor = learning_rate_factor(run, settings)
    for optimizer in run.optimizers:
        for group in optimizer.param_groups:
            group["lr"] = settings.learning_rate * factor
    loss = weighted_loss(run.model, batch)
    loss.backward()
    nn.utils.clip_grad_norm_(run.model.parameters(), 1.0)
    for optimizer in run.optimizers:
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    return loss.item()


def train(run: Run, tokenizer: PreTrainedTokenizerFast, settings: Settings) -> Iterator[float]:
    """Go on to the last step; yields the loss after each, with the run brought up to date."""
    began = time.monotonic() - run.seconds
    while run.step < settings.steps:
        long = run.step % settings.long_every == settings.long_every - 1
        stage = stage_at(RECIPES[settings.recipe].stages, round(run.step / settings.share))
        batch = make_batch(
            tokenizer,
            stage,
            seed=settings.seed,
            step=run.step,
            tokens=stage.tokens,
            row=settings.long_row if long else settings.short_row,
            long=long,
        )
        loss = train_step(run, batch, settings)
        run.step += 1
        run.tokens += int((batch.weights > 0).sum())
        run.seconds = time.monotonic() - began
        yield loss


def save_checkpoint(run: Run, settings: Settings, path: Path) -> None:
    """Everything that a later start needs, written beside the old file and then moved over it."""
    state = {
        "settings": asdict(settings),
        "model": run.model.state_dict(),
        "optimizers": [optimizer.state_dict() for optimizer in run.optimizers],
        "progress": {"step": run.step, "tokens": run.tokens, "seconds": run.seconds},
    }
    partial = path.with_suffix(".partial")
    torch.save(state, partial)
    partial.replace(path)


def load_checkpoint(run: Run, settings: Settings, path: Path) -> None:
    """Put the run back to where it was saved.

    Raises:
        typer.BadParameter: the checkpoint belongs to a run with other settings.
    """
    state = torch.load(path, weights_only=True)
    if state["settings"] != asdict(settings):
        raise typer.BadParameter(
            f"{path} has other settings: {state['settings']}. Delete it or use them."
        )
    run.model.load_state_dict(state["model"])
    for optimizer, saved in zip(run.optimizers, state["optimizers"], strict=True):
        optimizer.load_state_dict(saved)
    run.step, run.tokens = state["progress"]["step"], state["progress"]["tokens"]
    run.seconds = state["progress"]["seconds"]


def export(run: Run, settings: Settings, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Write the folder that `from_pretrained` reads, with the weights in bfloat16."""
    folder.mkdir(parents=True, exist_ok=True)
    config = Qwen2Config.from_dict({**run.model.config.to_dict(), "use_cache": True})
    stored = Qwen2ForCausalLM(config).bfloat16()
    stored.load_state_dict(run.model.state_dict())
    stored.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    record = {
        **asdict(settings),
        "steps_done": run.step,
        "tokens": run.tokens,
        "minutes": round(run.seconds / 60, 1),
    }
    (folder / "training.json").write_text(json.dumps(record, indent=2) + "\n")


def start_run(settings: Settings, start: Path | None) -> tuple[Run, PreTrainedTokenizerFast]:
    """A fresh run, or one that grows from the model in a folder and keeps its tokenizer."""
    torch.manual_seed(settings.seed)
    if start is None:
        tokenizer = train_tokenizer(
            tokenizer_sample(settings.seed, 60_000), size=settings.vocabulary
        )
        model = new_model(tokenizer)
    else:
        tokenizer = AutoTokenizer.from_pretrained(start)
        model = Qwen2ForCausalLM.from_pretrained(start, dtype=torch.float32)
    # With a mask, eager attention trains 1.3 times as fast on the CPU as the fused kernel.
    model.set_attn_implementation("eager")
    model.config.use_cache = False
    return Run(model.train(), make_optimizers(model, settings.learning_rate)), tokenizer


def main(
    out: Annotated[Path, typer.Option(help="Folder that receives the model.")] = ROOT
    / "demo_models"
    / "base",
    recipe: Annotated[str, typer.Option(help="Which stages to train.")] = "base",
    seed: Annotated[int, typer.Option(help="Seed of weights and text.")] = 1,
    share: Annotated[
        float, typer.Option(help="Share of the recipe's steps, for trial runs.")
    ] = 1.0,
    start: Annotated[Path | None, typer.Option(help="Model folder to grow from.")] = None,
    state: Annotated[Path, typer.Option(help="Where checkpoints go.")] = ROOT / "build",
    save_every: Annotated[int, typer.Option(help="Steps between checkpoints and exports.")] = 200,
    threads: Annotated[int, typer.Option(help="CPU threads.")] = 2,
) -> None:
    """Train one demo model and export it; start again to go on after a kill."""
    torch.set_num_threads(threads)
    steps = round(share * RECIPES[recipe].steps)
    settings = Settings(recipe, seed, steps, share)
    run, tokenizer = start_run(settings, start)
    checkpoint = state / f"{out.name}.pt"
    state.mkdir(parents=True, exist_ok=True)
    if checkpoint.exists():
        load_checkpoint(run, settings, checkpoint)
    typer.echo(f"{run.model.num_parameters()} parameters, step {run.step} of {settings.steps}")
    for loss in train(run, tokenizer, settings):
        if run.step % 20 == 0:
            minutes = run.seconds / 60
            typer.echo(f"step {run.step} loss {loss:.4f} tokens {run.tokens} minutes {minutes:.1f}")
        if run.step % save_every == 0 or run.step == settings.steps:
            save_checkpoint(run, settings, checkpoint)
            export(run, settings, tokenizer, out)


if __name__ == "__main__":
    typer.run(main)
