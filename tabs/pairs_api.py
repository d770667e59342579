"""The endpoints of minimal pairs, causal tracing and layer operations.

Without `from __future__ import annotations`, which would hide the types from Gradio's documents.
"""

from collections.abc import Iterator
from typing import Any

from gradio.events import api

from tabs.answering import Answering, Edits
from tabs.asking_pairs import asked_pairs
from tabs.pairs_requests import (
    CausalTraceRequest,
    LayerOperationsRequest,
    PairDifferenceRequest,
    PairsRequest,
)
from tabs.runtime import result_of


class PairsEndpoints(Answering):
    """The functions that clients call, on one runtime."""

    def register(self) -> None:
        """Publish the endpoints in the current Gradio context."""
        # An API may take its time, and no model of this machine waits for it.
        api(self.pairs, api_name="pairs", **self._runtime.detail_queue)
        for analysis in (self.pair_difference, self.causal_trace, self.layer_operations):
            api(analysis, api_name=analysis.__name__, **self._runtime.run_queue)

    def pairs(
        self,
        model: str = "demo",
        source: str = "template",
        categories: list[str] = [  # noqa: B006 - shown in the API page, never changed
            "subject_differences",
            "location_differences",
            "adjective_differences",
            "tense_errors",
            "article_errors",
            "preposition_errors",
        ],
        n: int = 17,
        lang: str = "en",
        seed: int = 0,
        uses_per_edit: int = 2,
        sentences: list[str] = [],  # noqa: B006
        content: str = "",
        format: str | None = None,
        pairs: list[dict[str, Any]] = [],  # noqa: B006
        same_length: bool = False,
        base_url: str | None = None,
        remote_model: str = "",
        api_key: str | None = None,
        max_requests: int = 200,
        template: str | None = None,
        special: str = "default",
        edit: Edits = None,
    ) -> dict[str, Any]:
        """Minimal pairs, made or read, and how the tokens of their sides align for a model.

        Args:
            model: a name from /models; on a local page also any Hub id or folder.
            source: template (offline sentences), local (the model changes a word of `sentences`),
                text (`content` is the text of a file), given (`pairs`), or api (a model behind
                `base_url` writes them).
            categories: what the sides differ in; with the source api also free text.
            n: pairs of every category; with the source local of all sentences together.
            lang: en, ja or zh.
            seed: of what is drawn.
            uses_per_edit: how many pairs may exchange the same two words.
            sentences: for the source local.
            content: for the source text: JSON of the original tool, JSON lines, CSV or BLiMP.
            format: original, json, jsonl, blimp or csv; told by the content when null.
            pairs: for the source given: {"sentence1", "sentence2", "type", "answer1", ...}.
            same_length: keep only pairs whose sides have equally many tokens.
            base_url: an OpenAI-compatible API; a public page asks the hosts of its settings only.
            remote_model: the name that the API serves.
            api_key: sent to that API only; kept nowhere, and in no result or error.
            max_requests: nothing is sent to the API beyond it.
            template: null for plain text, "chat" for one user turn.
            special: default, none or bos.
            edit: a weight edit as JSON, or a list of them in order; held for this run only.
        """
        given = {name: value for name, value in locals().items() if name != "self"}
        asked = {name: given.pop(name) for name in ("base_url", "remote_model", "api_key")}
        asked["max_requests"] = given.pop("max_requests")
        problems: list[Any] = []
        if source == "api":
            asked |= {name: given[name] for name in ("categories", "n", "lang", "seed")}
            written = result_of(asked_pairs(self._runtime.settings, asked))
            given |= {"source": "given", "pairs": [pair.to_json() for pair in written.pairs]}
            problems = written.to_json()["problems"]
        record = self._result("pairs", PairsRequest, given)
        record["problems"] += problems
        return record

    def pair_difference(
        self,
        pairs: list[dict[str, Any]],
        model: str = "demo",
        layers: list[int] | None = None,
        readout: str = "last",
        components: list[str] = ["resid_post"],  # noqa: B006
        control: bool = True,
        halves: bool = True,
        lens: bool = True,
        q: float = 0.1,
        alpha: float = 0.05,
        correction: str = "bh",
        seed: int = 0,
        same_positions: bool = False,
        sites: list[str] | None = None,
        set_effect: str | None = None,
        before_edit: bool = False,
        template: str | None = None,
        special: str = "default",
        edit: Edits = None,
    ) -> Iterator[dict[str, Any]]:
        """How the activations of minimal pairs differ by layer and by dim, with a test that holds.

        Streams how far it is (schema lens_core/pair_difference_step/1), and then the result.

        Args:
            pairs: 1 to 10,000 of {"sentence1", "sentence2", "type", "subtype", "oriented", ...}.
            model: a name from /models; on a local page also any Hub id or folder.
            layers: 0 to L-1, and -1 for the embedding; all when null.
            readout: where both sides are read: last, edit (its mean), edit_last, suffix or prefix.
            components: resid_post (the stream after each block), attn_out, mlp_out, resid_mid,
                mlp_act (neurons), heads, final_norm, logits.
            control: run the negative control; without it no dims are found.
            halves: look at discoveries of one half of the pairs again in the other.
            lens: read every state as a prediction, for the divergences.
            q: the share of least responsive dims that counts as a hit.
            alpha: the share of false discoveries that is allowed.
            correction: bh or by.
            seed: of mismatched pairs, halves, permutations and bootstrap.
            same_positions: let what follows an edit stand at the same positions on both sides, by
                explicit position ids; for models with absolute positions.
            sites: give the dims of these only, such as ["layer_3"]; of all when null.
            set_effect: also hold the dims found at this site at their mean, against random sets.
            before_edit: also compare in the model without the edit.
            template: null for plain text, "chat" for one user turn.
            special: default, none or bos.
            edit: a weight edit as JSON, or a list of them in order; held for this run only.
        """
        yield from self._streamed("pair_difference", PairDifferenceRequest, locals())

    def causal_trace(
        self,
        pair: dict[str, Any],
        model: str = "demo",
        metric: str = "auto",
        components: list[str] = ["resid_post", "attn_out", "mlp_out", "heads"],  # noqa: B006
        direction: str = "both",
        window: int = 1,
        positions: list[int] | None = None,
        noise: float | None = None,
        noise_samples: int = 10,
        seed: int = 0,
        own_answers: bool = False,
        approximate: bool = False,
        template: str | None = None,
        special: str = "default",
        edit: Edits = None,
    ) -> dict[str, Any]:
        """Which activations of one side restore its answer in the other side of a pair.

        Args:
            pair: {"sentence1", "sentence2", "answer1", "answer2", "correct"}.
            model: a name from /models; on a local page also any Hub id or folder.
            metric: logit_difference (of the answers), log_p (of the wanted one), kl, or auto.
            components: resid_post at every aligned position; attn_out, mlp_out and heads at the
                edit and the last position.
            direction: denoise (clean states into the other run), noise, or both.
            window: 1, 3 or 5 layers of attn_out or mlp_out that are patched together.
            positions: of the clean text; patch those only.
            noise: in place of the other side, noise of so many standard deviations on the edit.
            noise_samples: draws of the noise.
            seed: of the noise.
            own_answers: take what either side predicts where the pair names no answers.
            approximate: to first order from one gradient, with true patches beside it.
            template: null for plain text, "chat" for one user turn.
            special: default, none or bos.
            edit: a weight edit as JSON, or a list of them in order; held for this run only.
        """
        return self._result("causal_trace", CausalTraceRequest, locals())

    def layer_operations(
        self,
        data: list[str],
        model: str = "demo",
        operations: list[str] = ["remove", "exchange"],  # noqa: B006
        layers: list[int] | None = None,
        tokens: bool = False,
        before_edit: bool = False,
        template: str | None = None,
        special: str = "default",
        edit: Edits = None,
    ) -> Iterator[dict[str, Any]]:
        """What a model loses on some texts when layers are removed, exchanged or silenced.

        Streams how far it is (schema lens_core/layer_operations_step/1), and then the result.

        Args:
            data: 1 to 2,000 texts, 100 on a public page.
            model: a name from /models; on a local page also any Hub id or folder.
            operations: remove, exchange, repeat, zero_attention, zero_mlp, skip_range.
            layers: on which; all when null.
            tokens: with the loss of every token.
            before_edit: also of the model without the edit.
            template: null for plain text, "chat" for one user turn.
            special: default, none or bos.
            edit: a weight edit as JSON, or a list of them in order; held for this run only.
        """
        yield from self._streamed("layer_operations", LayerOperationsRequest, locals())
