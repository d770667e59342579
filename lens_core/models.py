"""A loaded model: the network, its tokenizer, what was found in it and what was proved of it."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from lens_core import records
from lens_core.errors import NotExactError, PromptError
from lens_core.prompts import prompt_ids

if TYPE_CHECKING:
    import torch
    from jaxtyping import Int
    from torch import Tensor
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from lens_core.anatomy import Anatomy
    from lens_core.readout import Readout
    from lens_core.self_check import SelfCheck


@dataclass(frozen=True)
class ModelFacts:
    """What a model is, in the words of the result header and of the model picker."""

    id: str
    revision: str | None
    class_name: str
    dtype: str
    quantization: str | None
    attn_impl: str
    n_layers: int
    n_heads: int
    n_kv_heads: int
    d_model: int
    d_head: int
    d_mlp: int | None
    vocab_size: int
    """Rows of the unembedding, which can exceed the tokenizer's size."""
    n_parameters: int
    max_positions: int | None
    """The longest text the configuration allows, in tokens; None when it sets no limit."""
    norm: str
    """Class name of the final norm, or "none"."""
    topology: str
    """sequential, parallel, post-norm, mixer, or a mixture joined by "+"."""
    softcap: float | None
    logit_scale: float
    device: str
    weights_sha256: str
    tokenizer_sha256: str | None

    def header(self) -> dict[str, Any]:
        """The `model` part of a result header."""
        return {
            "id": self.id,
            "revision": self.revision,
            "class": self.class_name,
            "dtype": self.dtype,
            "quantization": self.quantization,
            "attn_impl": self.attn_impl,
            "n_layers": self.n_layers,
            "n_heads": self.n_heads,
            "n_kv_heads": self.n_kv_heads,
            "d_model": self.d_model,
            "vocab_size": self.vocab_size,
            "weights_sha256": self.weights_sha256,
            "tokenizer_sha256": self.tokenizer_sha256,
        }


@dataclass(eq=False)
class LoadedModel:
    """A causal language model that was examined, with the lock that keeps its runs apart.

    The weights are read-only for everybody; `applied` alone changes them, for one block, and
    puts them back.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase | None
    facts: ModelFacts
    anatomy: Anatomy
    found_readout: Readout | None
    self_check: SelfCheck
    lock: threading.RLock = field(default_factory=threading.RLock, repr=False)
    """Held by whoever runs the model or changes weights: two runs would mix their hooks."""
    active_edits: tuple[tuple[str, float], ...] = ()
    """(edit id, strength) of the edits that `applied` holds at this moment."""

    @property
    def n_layers(self) -> int:
        """How many decoder blocks the model has."""
        return self.facts.n_layers

    @property
    def readout(self) -> Readout:
        """The way from states to logits.

        Raises:
            NotExactError: none was found.
        """
        if self.found_readout is None:
            self.require("readout")
        assert self.found_readout is not None
        return self.found_readout

    @property
    def device(self) -> torch.device:
        """Where token ids go in: the device of the input embeddings."""
        from lens_core.network import input_device

        return input_device(self.model)

    def require(self, feature: str) -> None:
        """Refuse a feature that the self-check switched off.

        Raises:
            NotExactError: with the measured error and its bound.
        """
        reason = self.self_check.reason_off(feature)
        if reason is not None:
            raise NotExactError(reason)

    def header(
        self,
        kind: str,
        *,
        seed: int | None = None,
        timing: Mapping[str, float] | None = None,
        warnings: Sequence[str] = (),
    ) -> dict[str, Any]:
        """The header of a result of this model, with the edits that are applied right now.

        Several edits are named together; their strength is None where they differ in it.
        """
        edit = None
        if self.active_edits:
            names, strengths = zip(*self.active_edits, strict=True)
            one = strengths[0] if len(set(strengths)) == 1 else None
            edit = {"id": "+".join(names), "strength": one}
        return records.header(
            kind,
            model=self.facts.header(),
            self_check=self.self_check.header(),
            edit=edit,
            seed=seed,
            timing=timing,
            warnings=[*self.self_check.warnings, *warnings],
        )

    def tokenize(
        self,
        text: str,
        *,
        template: str | None = None,
        special: str = "default",
        name: str = "prompt",
    ) -> Int[Tensor, " position"]:
        """Token ids of a prompt, on the CPU.

        Args:
            text: the prompt, exactly as typed.
            template: None for plain text; "chat" wraps it as one user turn of the tokenizer's own
                chat template.
            special: "default" adds what the tokenizer adds (often a start token), "none" nothing,
                "bos" makes sure that the start token comes first.
            name: what an error calls the text.

        Raises:
            PromptError: no tokenizer, an empty prompt, or no chat template.
            InputError: an unknown `template` or `special`.
        """
        import torch

        if self.tokenizer is None:
            raise PromptError(
                f"{self.facts.id} was wrapped without a tokenizer, so text cannot be read; "
                "pass token ids, or wrap it again with its tokenizer."
            )
        ids = prompt_ids(self.tokenizer, text, template=template, special=special, name=name)
        return torch.tensor(ids, dtype=torch.long)


def check_ids(
    loaded: LoadedModel,
    ids: Tensor,
    *,
    max_tokens: int | None = None,
    new_tokens: int = 0,
    name: str = "prompt",
) -> Tensor:
    """`ids` as a 1-D long tensor that the model can take, with room for new tokens after them.

    Raises:
        PromptError: no tokens, more than the limit, or an id outside the vocabulary.
    """
    import torch

    from lens_core.network import embedding_rows

    ids = torch.as_tensor(ids)
    if ids.dim() != 1 or ids.is_floating_point() or ids.dtype == torch.bool:
        raise PromptError(
            f"Token ids must be one row of whole numbers; these have shape {list(ids.shape)} "
            f"and type {ids.dtype}."
        )
    if len(ids) == 0:
        raise PromptError(f"The {name} has 0 tokens; the least is 1.")
    _check_length(loaded, len(ids), max_tokens, new_tokens, name=name)
    rows = embedding_rows(loaded.model)
    outside = ids[(ids < 0) | (ids >= rows)]
    if len(outside):
        raise PromptError(
            f"Token id {int(outside[0])} is outside this model's vocabulary, 0 to {rows - 1}."
        )
    return ids.long().cpu()


def _check_length(
    loaded: LoadedModel, tokens: int, max_tokens: int | None, new_tokens: int, *, name: str
) -> None:
    limits = [n for n in (max_tokens, loaded.facts.max_positions) if n is not None]
    if not limits or tokens + new_tokens <= min(limits):
        return
    limit = min(limits)
    room = limit - new_tokens
    shorter = {"action": "shorten", "tokens": tokens, "limit": room if room > 0 else limit}
    if tokens > limit:
        raise PromptError(
            f"The {name} has {tokens} tokens; the limit is {limit}. Shorten the {name}.",
            remedy=shorter,
        )
    fewer = {"action": "generate", "tokens": new_tokens, "limit": limit - tokens}
    raise PromptError(
        f"{tokens} prompt tokens and {new_tokens} new ones make {tokens + new_tokens}; the limit "
        f"is {limit}. Generate fewer tokens or shorten the prompt.",
        remedy=shorter if room > 0 else fewer,
    )
