"""The public endpoints: one typed function an analysis, for the browser, clients and scripts.

Without `from __future__ import annotations`, which would hide the types from Gradio's documents.
Gradio checks no types here, so each function checks its arguments itself.
"""

from collections.abc import Iterator
from typing import Any

from gradio.events import api

from tabs.answering import Answering, Edits
from tabs.attention_api import AttentionEndpoints
from tabs.pairs_api import PairsEndpoints
from tabs.remote_api import RemoteEndpoints
from tabs.repair_requests import RepairCompareRequest, RepairEvaluateRequest, RepairRequest
from tabs.requests import (
    GraphEdgeRequest,
    GraphNodeRequest,
    GraphRequest,
    GraphStatisticsRequest,
    LogitLensRequest,
)


class Endpoints(Answering):
    """The functions that clients call, on one runtime."""

    def register(self) -> None:
        """Publish the endpoints in the current Gradio context."""
        api(self.models, api_name="models", **self._runtime.detail_queue)
        analyses = (
            self.logit_lens,
            self.graph,
            self.graph_node,
            self.graph_edge,
            self.graph_statistics,
            self.repair,
            self.repair_evaluate,
            self.repair_compare,
        )
        for analysis in analyses:
            api(analysis, api_name=analysis.__name__, **self._runtime.run_queue)
        AttentionEndpoints(self._runtime).register()
        RemoteEndpoints(self._runtime).register()
        PairsEndpoints(self._runtime).register()

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
        edit: Edits = None,
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
            edit: a weight edit as JSON, or a list of them in order; held for this run only.
        """
        return self._result("logit_lens", LogitLensRequest, locals())

    def graph(
        self,
        prompt: str,
        model: str = "demo",
        root: int | str | list[int | str] = -1,
        threshold: float = 0.04,
        mode: str = "per_part",
        renormalise: bool | None = None,
        bias: str = "part",
        metric: str = "l1",
        granularity: str = "head",
        numerics: str = "clean",
        target: int | str | None = None,
        foil: int | str | None = None,
        merge_self: bool = False,
        prune: list[float] | None = None,
        max_edges: int | None = None,
        other_prompt: str | None = None,
        before_edit: bool = False,
        template: str | None = None,
        special: str = "default",
        edit: Edits = None,
    ) -> dict[str, Any]:
        """How a prediction was built: the contribution graph, or the difference of two graphs.

        Args:
            prompt: the text, exactly as typed.
            model: a name from /models; on a local page also any Hub id or folder.
            root: what to explain: a position, a node such as "I3_5", several, or "all".
            threshold: shares up to it are left out, 0 to 1.
            mode: what is compared with it: per_part (every head of a link) or per_edge.
            renormalise: divide what is left by its sum; with per_part when null.
            bias: "part" gives biases a share, "ignore" leaves them out.
            metric: l1, l2, projection, norm or logit.
            granularity: "head" measures every head, "source" adds heads up first (fast).
            numerics: clean, or compat for those of the LM Transparency Tool.
            target: token of the metric logit, an id or a text of one token.
            foil: token whose logit is subtracted.
            merge_self: make attention to the own position and the stream one link.
            prune: shares of nodes and of edges to keep by influence, such as [0.8, 0.98].
            max_edges: list so many edges at most, those with the largest influence.
            other_prompt: subtract the graph of `prompt` from that of this text.
            before_edit: subtract the graph of the model without the edit from that with it.
            template: null for plain text, "chat" for one user turn.
            special: default, none or bos.
            edit: a weight edit as JSON, or a list of them in order; held for this run only.
        """
        return self._result("graph", GraphRequest, locals())

    def graph_node(
        self,
        prompt: str,
        node: str,
        model: str = "demo",
        k: int = 15,
        n: int = 20,
        normalise: bool = True,
        verify: bool = False,
        neuron: int | None = None,
        expert: int | None = None,
        root: int | str = -1,
        metric: str = "l1",
        numerics: str = "clean",
        bias: str = "part",
        target: int | str | None = None,
        foil: int | str | None = None,
        template: str | None = None,
        special: str = "default",
        edit: Edits = None,
    ) -> dict[str, Any]:
        """What a node of the graph says: tokens of a state, neurons of an MLP, what is added.

        Args:
            prompt: the text, exactly as typed.
            node: X0_t, A3_t, I3_t (states at t), M3_t (MLP), B3_t (biases) or S3_t (mixer).
            model: a name from /models; on a local page also any Hub id or folder.
            k: how many tokens, 1 to 50.
            n: how many neurons of an MLP, 1 to 200.
            normalise: read states through the final norm.
            verify: knock the node out, and measure what the prediction at the root loses.
            neuron: knock out only this neuron of the MLP.
            expert: the expert that the neuron belongs to; -1 is the shared one.
            root: where the effect of the knock-out is measured.
            metric: how neurons are measured: l1, l2 or norm.
            numerics: clean or compat.
            bias: part or ignore.
            target: token whose logit is measured; the model's own prediction when null.
            foil: token whose logit is subtracted.
            template: null for plain text, "chat" for one user turn.
            special: default, none or bos.
            edit: a weight edit as JSON, or a list of them in order; held for this run only.
        """
        return self._result("graph_node", GraphNodeRequest, locals())

    def graph_edge(
        self,
        prompt: str,
        src: str,
        dst: str,
        model: str = "demo",
        kind: str | None = None,
        head: int | str = "strongest",
        k: int = 15,
        maps: bool = True,
        verify: str | None = None,
        root: int | str = -1,
        metric: str = "l1",
        numerics: str = "clean",
        bias: str = "part",
        target: int | str | None = None,
        foil: int | str | None = None,
        template: str | None = None,
        special: str = "default",
        edit: Edits = None,
    ) -> dict[str, Any]:
        """What an edge of the graph says: its heads, where one looks, and what it writes.

        Args:
            prompt: the text, exactly as typed.
            src: the node it comes from, such as "I1_3".
            dst: the node it enters, such as "A2_5".
            model: a name from /models; on a local page also any Hub id or folder.
            kind: residual, attention, ffn, bias or mixer; attention where it can be when null.
            head: a head, "strongest", or "all" together.
            k: how many tokens, 1 to 50.
            maps: with attention and contribution of the head at all positions.
            verify: knock out "all" of it, or the "head" alone, and measure; nothing when null.
            root: where the effect of the knock-out is measured.
            metric: l1, l2, projection, norm or logit.
            numerics: clean or compat.
            bias: part or ignore.
            target: token whose logit is looked at; the model's own prediction when null.
            foil: token whose logit is subtracted.
            template: null for plain text, "chat" for one user turn.
            special: default, none or bos.
            edit: a weight edit as JSON, or a list of them in order; held for this run only.
        """
        return self._result("graph_edge", GraphEdgeRequest, locals())

    def graph_statistics(
        self,
        prompts: list[str],
        model: str = "demo",
        root: int | str = -1,
        threshold: float = 0.04,
        mode: str = "per_part",
        bias: str = "part",
        metric: str = "l1",
        template: str | None = None,
        special: str = "default",
        edit: Edits = None,
    ) -> dict[str, Any]:
        """Which heads and MLPs are active how often in the graphs of many prompts.

        Args:
            prompts: the texts, 1 to 1,000.
            model: a name from /models; on a local page also any Hub id or folder.
            root: what is explained in each: a position, negative ones from the end.
            threshold: a head or MLP is active when its share in the graph is above it.
            mode: per_part or per_edge.
            bias: part or ignore.
            metric: l1, l2, projection, norm or logit.
            template: null for plain text, "chat" for one user turn.
            special: default, none or bos.
            edit: a weight edit as JSON, or a list of them in order; held for this run only.
        """
        return self._result("graph_statistics", GraphStatisticsRequest, locals())

    def repair(
        self,
        prompt: str | None = None,
        target: str | None = None,
        model: str = "demo",
        pairs: list[list[str]] | None = None,
        method: str = "me-batch",
        epochs: int | None = None,
        margin: float = 0.5,
        lr: float | None = None,
        pace: float = 0.5,
        mu: float | str = 1.0,
        layers: float | None = None,
        neurons: int = 64,
        views: int = 0,
        locate: str = "attribution",
        compat: str | None = None,
        watch: int = 0,
        template: str | None = None,
        special: str = "default",
        edit: Edits = None,
    ) -> Iterator[dict[str, Any]]:
        """The small weight edit after which the model continues the prompt with the target.

        Streams every update (schema lens_core/repair_step/1), and then the result; its
        `weight_edit` is what the other endpoints take as `edit`.

        Args:
            prompt: the text, exactly as typed.
            target: what should follow, as it continues the prompt: mostly with a space in front.
            model: a name from /models; on a local page also any Hub id or folder.
            pairs: several [prompt, target] to repair together, instead of the two above.
            method: me-batch (STAR, all tokens at once), me-iter (STAR, token by token), mint (few
                neurons) or me-sgd (plain gradient descent).
            epochs: most updates, 1 to 200; the method's own number when null.
            margin: logits that every target token must lead by, 0 to 100.
            lr: a fixed learning rate; the step that is needed when null.
            pace: how much of what is missing one step should close, 0.05 to 1.
            mu: ridge of the semantic direction, 0 or more, or "inf".
            layers: share of the layers that are edited, 0.01 to 1; by their number when null.
            neurons: most neurons in a layer; 0 takes all.
            views: rewordings of each prompt that are repaired with it, 0 to 3.
            locate: how layers are chosen: by attribution (gradient x activation), or by occlusion
                (the loss without each one).
            compat: "reference" takes the settings of the published code; mint has none.
            watch: on how many probes every update measures what else changes.
            template: null for plain text, "chat" for one user turn.
            special: default, none or bos.
            edit: weight edits as JSON that hold meanwhile; the new one is made on top of them.
        """
        yield from self._streamed("repair", RepairRequest, locals())

    def repair_evaluate(
        self,
        edit: dict[str, Any] | list[dict[str, Any]],
        model: str = "demo",
        wanted: list[list[str]] | None = None,
        paraphrases: list[list[str]] = [],  # noqa: B006
        probes: list[str] = [],  # noqa: B006
        neighbours: list[str] = [],  # noqa: B006
        builtin: bool = True,
        new_tokens: int = 20,
        strengths: list[float] | None = None,
        template: str | None = None,
        special: str = "default",
    ) -> dict[str, Any]:
        """Whether edits do what they are for, in other words too, and what else they change.

        Args:
            edit: a weight edit as JSON, or a list of them in the order in which they are applied,
                each bare or as {"edit", "strength"}.
            model: a name from /models; on a local page also any Hub id or folder.
            wanted: [prompt, target] of what should be said; what the edits name when null.
            paraphrases: [prompt, target] in other words.
            probes: more texts that should not change.
            neighbours: prompts near the wanted ones; those, cut at the end, when empty.
            builtin: also measure on the built-in probes.
            new_tokens: how far continuations are compared, 0 to 64.
            strengths: also measure the last edit at these strengths, 0 to 1.5.
            template: null for plain text, "chat" for one user turn.
            special: default, none or bos.
        """
        return self._result("repair_evaluate", RepairEvaluateRequest, locals())

    def repair_compare(
        self,
        prompt: str | None = None,
        target: str | None = None,
        model: str = "demo",
        pairs: list[list[str]] | None = None,
        methods: list[str | dict[str, Any]] = ["me-batch", "me-iter", "mint", "me-sgd"],  # noqa: B006
        epochs: int | None = None,
        margin: float = 0.5,
        lr: float | None = None,
        pace: float = 0.5,
        mu: float | str = 1.0,
        layers: float | None = None,
        neurons: int = 64,
        views: int = 0,
        locate: str = "attribution",
        compat: str | None = None,
        paraphrases: list[str] = [],  # noqa: B006
        probes: list[str] = [],  # noqa: B006
        neighbours: list[str] = [],  # noqa: B006
        template: str | None = None,
        special: str = "default",
        edit: Edits = None,
    ) -> Iterator[dict[str, Any]]:
        """Several methods on the same pairs, each from the same state, with what each changed.

        Streams every update (schema lens_core/repair_compare_step/1), and then the table.

        Args:
            prompt: the text, exactly as typed.
            target: what should follow, as it continues the prompt: mostly with a space in front.
            model: a name from /models; on a local page also any Hub id or folder.
            pairs: several [prompt, target] to repair together, instead of the two above.
            methods: 1 to 8, by name or as options such as {"method": "me-sgd", "lr": 0.01}.
            epochs: most updates, 1 to 200; each method's own number when null.
            margin: logits that every target token must lead by, 0 to 100.
            lr: a fixed learning rate; the step that is needed when null.
            pace: how much of what is missing one step should close, 0.05 to 1.
            mu: ridge of the semantic direction, 0 or more, or "inf".
            layers: share of the layers that are edited, 0.01 to 1; by their number when null.
            neurons: most neurons in a layer; 0 takes all.
            views: rewordings of each prompt that are repaired with it, 0 to 3.
            locate: how layers are chosen: by attribution (gradient x activation), or by occlusion
                (the loss without each one).
            compat: "reference" takes the settings of the published code; leave mint out then.
            paraphrases: other wordings of the prompt, which are measured only.
            probes: more texts that should not change.
            neighbours: prompts near the wanted ones; those, cut at the end, when empty.
            template: null for plain text, "chat" for one user turn.
            special: default, none or bos.
            edit: weight edits as JSON that hold meanwhile.
        """
        yield from self._streamed("repair_compare", RepairCompareRequest, locals())
