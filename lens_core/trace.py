"""One forward pass, with the stream written down at every site.

Hooks copy each state the moment it is seen (some families change it in place later) into one
float32 tensor a site, so memory is what is kept and nothing more. Attention is not touched.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from lens_core.anatomy.calls import tensors_of
from lens_core.errors import InputError, NotExactError
from lens_core.models import LoadedModel, check_ids
from lens_core.network import input_device, last_logits_only, run
from lens_core.progress import tick

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from lens_core.anatomy import AddMap, Anatomy

SITES = ("resid_pre", "resid_mid", "resid_post", "attn_out", "mlp_out")


@dataclass(frozen=True, eq=False)
class Trace:
    """The stream of one prompt. Layers count from 0; all states are float32."""

    ids: Int[Tensor, " position"]
    stream: Float[Tensor, "layer_or_end position d_model"]
    """The input of every block, then the output of the last."""
    has_mid: tuple[bool, ...]
    """Whether a state after attention exists in each layer; in parallel layers it does not."""
    logits: Float[Tensor, "kept d_vocab"] | None
    """The model's own logits: of all positions, of the last one, or not kept."""
    mid: Float[Tensor, "layer position d_model"] | None = None
    attn: Float[Tensor, "layer position d_model"] | None = None
    mlp: Float[Tensor, "layer position d_model"] | None = None

    @property
    def nbytes(self) -> int:
        """Size of everything that is kept."""
        kept = (self.ids, self.stream, self.logits, self.mid, self.attn, self.mlp)
        return sum(tensor.nbytes for tensor in kept if tensor is not None)

    @property
    def resid_pre(self) -> Float[Tensor, "layer position d_model"]:
        """The stream before each block; layer 0 is the measured embedding."""
        return self.stream[:-1]

    @property
    def resid_post(self) -> Float[Tensor, "layer position d_model"]:
        """The stream after each block."""
        return self.stream[1:]

    @property
    def resid_mid(self) -> Float[Tensor, "layer position d_model"]:
        """The stream after attention.

        Virtual (resid_pre + attn_out) in parallel layers, where `has_mid` is False: an order of
        events that the model does not have.
        """
        return self._kept(self.mid, "resid_mid")

    @property
    def attn_out(self) -> Float[Tensor, "layer position d_model"]:
        """What attention adds to the stream, after post-norms and multipliers."""
        return self._kept(self.attn, "attn_out")

    @property
    def mlp_out(self) -> Float[Tensor, "layer position d_model"]:
        """What the MLP adds to the stream, after post-norms and multipliers."""
        return self._kept(self.mlp, "mlp_out")

    def _kept(self, site: Tensor | None, name: str) -> Tensor:
        if site is None:
            raise NotExactError(
                f"{name} was not captured: it was left out of `sites`, or this model's blocks "
                "cannot be taken apart exactly (see self_check)."
            )
        return site


@torch.no_grad()
def capture(
    loaded: LoadedModel,
    ids: Int[Tensor, " position"],
    *,
    sites: Collection[str] | None = None,
    logits: str = "all",
) -> Trace:
    """The stream of one prompt at every layer and position.

    `attn_out` and `mlp_out` are as added: resid_pre + attn_out = resid_mid and
    resid_mid + mlp_out = resid_post. Where a block normalises the sum instead (OPT-350m), they
    are the change of the stream, normalisation included.

    Args:
        loaded: the model.
        ids: token ids [position].
        sites: what to keep besides resid_pre and resid_post: naming any of the other three keeps
            all three; None keeps all that are exact.
        logits: keep the logits of "all" positions, of the "last" (faster), or "none".

    Raises:
        InputError: an unknown site, or another word for `logits`.
        PromptError: ids that the model cannot take.
        NotExactError: a named site that cannot be exact in this model.
    """
    if logits not in ("all", "last", "none"):
        raise InputError(f'logits is "{logits}"; it can be "all", "last" or "none".')
    loaded.require("states")
    ids = check_ids(loaded, ids)
    exact = loaded.self_check.reason_off("streams") is None
    wanted = set(SITES if exact else ()) if sites is None else set(sites)
    if unknown := wanted - set(SITES):
        raise InputError(f"Unknown site {min(unknown)!r}; the sites are {', '.join(SITES)}.")
    if wanted - {"resid_pre", "resid_post"}:
        loaded.require("streams")
    with loaded.lock:
        return capture_streams(loaded.model, loaded.anatomy, ids, wanted, logits=logits)


def capture_streams(
    model: PreTrainedModel,
    anatomy: Anatomy,
    ids: Int[Tensor, " position"],
    sites: Collection[str],
    *,
    logits: str = "all",
    forward_pass: Callable[[], Float[Tensor, "position d_vocab"]] | None = None,
) -> Trace:
    """`capture` without its checks, for whoever holds the lock.

    `forward_pass` makes the pass and answers its logits, where a plain one will not do.
    """
    inner = bool(set(sites) - {"resid_pre", "resid_post"})
    device = input_device(model)
    sizes = (len(anatomy.layers), len(ids), anatomy.d_model)
    stream = torch.zeros(sizes[0] + 1, *sizes[1:], device=device)
    mid, attn, mlp = (torch.zeros(sizes, device=device) if inner else None for _ in range(3))
    with ExitStack() as hooks:
        for layer, parts in enumerate(anatomy.layers):
            if layer == 0:
                _copy_input(hooks, parts.block, stream[0])
            _copy_output(hooks, parts.block, stream[layer + 1])
            _tick_after(hooks, parts.block, layer + 1, len(anatomy.layers))
            if mid is None or attn is None or mlp is None:
                continue
            _copy_added(hooks, parts.attn_add, attn[layer])
            _copy_added(hooks, parts.mlp_add, mlp[layer])
            if parts.mid is not None:
                copy = _copy_output if parts.mid_is_output else _copy_input
                copy(hooks, parts.mid, mid[layer])
        answer = forward(model, ids, logits=logits) if forward_pass is None else forward_pass()
    if mid is not None and attn is not None and mlp is not None:
        _complete(anatomy, stream, mid, attn=attn, mlp=mlp)
    kept = None if logits == "none" else answer.to(torch.float32, copy=True)
    has_mid = tuple(parts.has_mid for parts in anatomy.layers)
    return Trace(ids, stream, has_mid, kept, mid, attn, mlp)


def forward(
    model: PreTrainedModel, ids: Int[Tensor, " position"], *, logits: str = "all"
) -> Float[Tensor, "kept d_vocab"]:
    """The model's own logits; only the last ones where all are not needed."""
    options = {} if logits == "all" else last_logits_only(model)
    found = run(model, ids[None], **options).logits[0]
    return found if logits == "all" else found[-1:]


def _complete(anatomy: Anatomy, stream: Tensor, mid: Tensor, *, attn: Tensor, mlp: Tensor) -> None:
    """Fill in what is defined by the other sites."""
    for layer, parts in enumerate(anatomy.layers):
        if not parts.has_mid:
            mid[layer] = stream[layer] + attn[layer]
        if parts.attn_add is not None and not parts.attn_add.keeps_stream:
            attn[layer] = mid[layer] - stream[layer]
        if parts.mlp_add is not None and not parts.mlp_add.keeps_stream:
            mlp[layer] = stream[layer + 1] - mid[layer]


def _copy_added(hooks: ExitStack, add: AddMap | None, into: Tensor) -> None:
    if add is not None:
        _copy_output(hooks, add.tap, into, add.scale)


def _copy_input(hooks: ExitStack, module: nn.Module, into: Tensor) -> None:
    def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        _copy(into, first_state((*args, *kwargs.values())))

    hooks.callback(module.register_forward_pre_hook(hook, with_kwargs=True).remove)


def _copy_output(hooks: ExitStack, module: nn.Module, into: Tensor, scale: float = 1.0) -> None:
    def hook(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        _copy(into, first_state(output))
        if scale != 1.0:
            into.mul_(scale)

    hooks.callback(module.register_forward_hook(hook).remove)


def _tick_after(hooks: ExitStack, module: nn.Module, done: int, total: int) -> None:
    def hook(*_: Any) -> None:
        tick("layer", done, total)

    hooks.callback(module.register_forward_hook(hook).remove)


def _copy(into: Tensor, state: Tensor) -> None:
    into.copy_(state.reshape(into.shape))


def first_state(value: Any) -> Tensor:
    """The first floating-point tensor of some arguments or of an answer."""
    return next(tensor for tensor in tensors_of(value) if tensor.is_floating_point())


@contextmanager
def inputs_of(
    modules: Collection[nn.Module], keep: Callable[[nn.Module, Tensor], None]
) -> Iterator[None]:
    """Hand the first state that each module reads to `keep` while the block runs."""

    def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        keep(module, first_state((*args, *kwargs.values())))

    with ExitStack() as hooks:
        for module in modules:
            hooks.callback(module.register_forward_pre_hook(hook, with_kwargs=True).remove)
        yield
