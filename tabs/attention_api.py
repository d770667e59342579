"""The endpoints of attention, next token and attribution.

Without `from __future__ import annotations`, which would hide the types from Gradio's documents.
"""

from typing import Any

from gradio.events import api

from tabs.answering import Answering, Edits
from tabs.attention_requests import AttentionRequest, AttributionRequest, NextTokenRequest


class AttentionEndpoints(Answering):
    """The functions that clients call, on one runtime."""

    def register(self) -> None:
        """Publish the endpoints in the current Gradio context."""
        for analysis in (self.attention, self.next_token, self.attribution):
            api(analysis, api_name=analysis.__name__, **self._runtime.run_queue)

    def attention(
        self,
        prompt: str,
        model: str = "demo",
        query: int = -1,
        layers: list[int] | None = None,
        norms: bool = True,
        rollout: bool = True,
        flow: bool = False,
        matrix: list[int | None] | None = None,
        template: str | None = None,
        special: str = "default",
        edit: Edits = None,
    ) -> dict[str, Any]:
        """Where every head looks from one position, and how much it moves from there.

        Attention is no explanation: a token that is looked at need not matter. /attribution says
        what does.

        Args:
            prompt: the text, exactly as typed.
            model: a name from /models; on a local page also any Hub id or folder.
            query: the position to look from, negative ones from the end.
            layers: which layers, from 0; all when null.
            norms: also the lengths of what the heads move.
            rollout: also attention followed through all layers, and beside uniform attention.
            flow: also the maximum flow from every token; for at most 32 tokens.
            matrix: [layer, head] whose attention from all positions is wanted, too; [layer, null]
                for the mean of its heads.
            template: null for plain text, "chat" for one user turn.
            special: default, none or bos.
            edit: a weight edit as JSON or a list of them, held for this run only.
        """
        return self._result("attention", AttentionRequest, locals())

    def next_token(
        self,
        prompt: str,
        model: str = "demo",
        k: int = 10,
        temperature: float = 1.0,
        nucleus: float = 0.9,
        position: int = -1,
        append: list[int] = [],  # noqa: B006 - shown in the API page, never changed
        text: str | None = None,
        template: str | None = None,
        special: str = "default",
        edit: Edits = None,
    ) -> dict[str, Any]:
        """The most likely next tokens with the entropy of all, and the probability of a string.

        Args:
            prompt: the text, exactly as typed.
            model: a name from /models; on a local page also any Hub id or folder.
            k: how many tokens, 1 to 100.
            temperature: divides the logits, 0.01 to 100.
            nucleus: the share of the probability whose number of tokens is counted.
            position: after which token; negative ones from the end.
            append: token ids that follow the prompt, to go on with a candidate.
            text: also the probability of this string, exactly as it follows.
            template: null for plain text, "chat" for one user turn.
            special: default, none or bos.
            edit: a weight edit as JSON or a list of them, held for this run only.
        """
        return self._result("next_token", NextTokenRequest, locals())

    def attribution(
        self,
        prompt: str,
        model: str = "demo",
        method: str = "occlusion",
        target: int | str | list[int] | None = None,
        foil: int | str | None = None,
        score: str | None = None,
        query: int = -1,
        features: str | list[list[int]] = "token",
        positions: list[int] | None = None,
        specials: bool = False,
        occluder: str | None = None,
        replacement: int | str | None = None,
        window: int = 1,
        interactions: int = 0,
        samples: int | None = None,
        max_steps: int = 400,
        seed: int = 0,
        faithfulness: bool = False,
        template: str | None = None,
        special: str = "default",
        edit: Edits = None,
    ) -> dict[str, Any]:
        """What a prediction rests on: one score for every part of the prompt, and its gap.

        Args:
            prompt: the text, exactly as typed.
            model: a name from /models; on a local page also any Hub id or folder.
            method: occlusion, input_x_gradient, integrated_gradients, gradient_shap, shapley or
                kernel_shap.
            target: what should come next, as text, a token id or several; the most likely token
                when null.
            foil: a token that the target is held against.
            score: log_p, contrast, kl or flip; log_p, or contrast with a foil, when null.
            query: the position after which the target comes.
            features: token, cluster, word, sentence, or spans of positions [first, behind last].
            positions: attribute to features of these positions alone.
            specials: attribute to special tokens as well.
            occluder: knock_out, replace, mean or delete; knock_out where it is exact when null.
            replacement: the token that replace puts there, and the baseline of gradients.
            window: with occlusion, adjacent features that are removed together.
            interactions: with occlusion, of how many features pairs are measured, too.
            samples: of the sampling methods, 1 to 1,000.
            max_steps: of integrated gradients, 50 to 800.
            seed: of what is drawn.
            faithfulness: also how the ranking fares against random ones.
            template: null for plain text, "chat" for one user turn.
            special: default, none or bos.
            edit: a weight edit as JSON or a list of them, held for this run only.
        """
        return self._result("attribution", AttributionRequest, locals())
