"""The public endpoints: one typed function an analysis, for the browser, clients and scripts.

Without `from __future__ import annotations`, which would hide the types from Gradio's documents.
Gradio checks no types here, so each function checks its arguments itself.
"""

from typing import Any

from gradio.events import api

from tabs.requests import LogitLensRequest, Request, checked
from tabs.runtime import Runtime, result_of, user_errors


class Endpoints:
    """The functions that clients call, on one runtime."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    def register(self) -> None:
        """Publish the endpoints in the current Gradio context."""
        api(self.models, api_name="models", **self._runtime.detail_queue)
        api(self.logit_lens, api_name="logit_lens", **self._runtime.run_queue)

    def models(self) -> list[dict[str, Any]]:
        """The models that can be named, with facts and self-check of those that are loaded."""
        return self._runtime.models()

    def logit_lens(
        self,
        prompt: str,
        model: str = "demo",
        k: int = 5,
        components: list[str] = ["resid_post"],  # noqa: B006 - shown in the API page, never changed
        positions: list[int] | None = None,
        layers: list[int] | None = None,
        scale: str = "final",
        norm: str = "final",
        targets: list[int | str] = [],  # noqa: B006
        track_position: int | None = -1,
        generate: int = 0,
        temperature: float = 0.0,
        top_p: float = 1.0,
        top_k: int = 0,
        seed: int = 0,
        important: str = "kl_drop",
        threshold: float | None = None,
        compat: bool = False,
        template: str | None = None,
        special: str = "default",
        edit: dict[str, Any] | None = None,
    ) -> dict[str, Any]:
        """What the model would say after every layer, at every position.

        Args:
            prompt: the text, exactly as typed.
            model: a name from /models; on a local page also any Hub id or folder.
            k: how many tokens a cell holds, 1 to 50.
            components: among embed, resid_mid, resid_post, attn_out, mlp_out.
            positions: which positions, negative ones from the end; all when null.
            layers: which layers, from 0; all when null.
            scale: of the final norm for attn_out and mlp_out: final, local or own.
            norm: final, or none for the bare unembedding.
            targets: tokens to follow in every cell: ids, or texts of one token.
            track_position: the position whose candidates are followed; none when null.
            generate: how many tokens to generate and read, too.
            temperature: of the generation; 0 takes the most likely token.
            top_p: nucleus of the generation.
            top_k: sample among so many tokens; 0 for all.
            seed: of the generation.
            important: criterion: prob, kl_drop, js, top1_change or target_enters_topk.
            threshold: of that criterion; its own default when null.
            compat: cut probabilities to whole per cent in criterion prob.
            template: null for plain text, "chat" for one user turn.
            special: default, none or bos.
            edit: a weight edit as JSON, held for this run only.
        """
        arguments = dict(locals())
        del arguments["self"]
        with user_errors():
            request = checked(LogitLensRequest, arguments)
        return self.result("logit_lens", request)

    def result(self, op: str, request: Request) -> dict[str, Any]:
        """The result of an operation as plain JSON values."""
        return result_of(self._runtime.steps(op, request)).to_json()
