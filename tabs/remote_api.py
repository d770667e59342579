"""The endpoint of models behind an API.

Without `from __future__ import annotations`, which would hide the types from Gradio's documents.
"""

from collections.abc import Iterator
from contextlib import closing
from typing import Any

from gradio.events import api

from tabs.remote_requests import remote_request
from tabs.remote_running import REMOTE_QUEUE, estimated, remote_steps
from tabs.runtime import Runtime, user_errors


class RemoteEndpoints:
    """The functions that clients call, within the settings of one runtime."""

    def __init__(self, runtime: Runtime) -> None:
        self._settings = runtime.settings

    def register(self) -> None:
        """Publish the endpoints in the current Gradio context."""
        api(self.remote_importance, api_name="remote_importance", **REMOTE_QUEUE)

    def remote_importance(
        self,
        prompt: str,
        base_url: str,
        model: str,
        api_key: str | None = None,
        method: str = "occlusion",
        samples: int = 5,
        answer: str | None = None,
        system: str | None = None,
        tier: int | None = None,
        units: str | list[list[int]] = "words",
        cjk: str = "character",
        mask: str = "",
        protected: list[str | list[int]] = [],  # noqa: B006 - shown in the API page, never changed
        distance: str = "edit",
        embedding_model: str | None = None,
        answer_tokens: int = 16,
        repeats: int | None = None,
        floor: float = 1e-6,
        seed: int = 0,
        max_requests: int = 200,
        concurrency: int = 4,
        estimate_only: bool = False,
    ) -> Iterator[dict[str, Any]]:
        """What matters in a prompt to a model behind an OpenAI-compatible API.

        Streams what it would send before anything is sent, then every answer (schema
        lens_core/remote_importance_step/1: stage, done, total, requests, cached, tier, features so
        far), and then the result. The prompt goes to that API, and to nobody else.

        Args:
            prompt: the text whose parts are masked, exactly as typed.
            base_url: the API's address, such as https://api.openai.com/v1; a public page asks the
                hosts of its settings only.
            model: the name that the API serves.
            api_key: sent to that API only; kept nowhere, and in no result or error.
            method: occlusion masks every part alone; shapley shares among the parts what masking
                several together changes.
            samples: with shapley, orders that are drawn, 1 to 1,000; all sets of few parts are
                taken, and the values are exact.
            answer: the answer whose probability is followed, in tier 1; the model's own when null.
            system: the system's turn, which is never masked; not in tier 1.
            tier: 1 for the probability of a given answer, 2 for that of the answer's first token, 3
                for answers alone; the first that the API shows when null, with shapley 1 or 3.
            units: words, sentences, hierarchical (sentences, then the words of those that matter),
                or spans of characters [first, behind last].
            cjk: a Chinese or Japanese word is a character, or a bigram.
            mask: replaces a part: "" deletes it, neighbour asks the model for another word.
            protected: texts and spans of characters that are never masked.
            distance: of answers in tier 3: edit, exact, chrf or embedding.
            embedding_model: for the distance embedding: its name in the API.
            answer_tokens: the longest answer that is asked for, 1 to 1,024; 256 on a public page.
            repeats: how often the prompt itself is asked again for the noise, 0 to 100, or 20 on a
                public page; 3 when null, and 0 in tier 1.
            floor: a change up to it never counts as above the noise.
            seed: sent along where the API takes one, and of the orders that are drawn.
            max_requests: nothing is sent beyond it, 1 to 10,000, or 200 on a public page; a run
                that may need more is refused at once.
            concurrency: requests at once, 1 to 4.
            estimate_only: only say how many requests and prompt tokens it would take.
        """
        arguments = {name: value for name, value in locals().items() if name != "self"}
        with user_errors():
            request = remote_request(arguments)
        if request.estimate_only:
            yield estimated(self._settings, request).to_json()
            return
        # Closed when the client goes, which ends the run.
        with closing(remote_steps(self._settings, request)) as steps:
            while True:
                try:
                    progress = next(steps)
                except StopIteration as end:
                    yield end.value.to_json()
                    return
                yield from (step.to_json() for step in progress.detail)
