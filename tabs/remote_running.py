"""The one way to models behind an API: what a page allows, then the run, which can be stopped.

No model of one's own runs here, so runs have a queue of their own and never wait for the GPU.

A public page asks for its visitors, who must not reach machines that only the page can reach. It
takes https addresses of known hosts alone, spelled so that there is one way to read them; the
client follows no redirect. A proxy of the environment is the operator's own, and stays in use.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Generator, Mapping, MutableMapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from lens_core.errors import InputError, PromptError
from tabs.background import Progress, in_background
from tabs.remote_requests import RemoteImportanceRequest
from tabs.runtime import Steps, user_errors

if TYPE_CHECKING:
    from lens_core.remote import Endpoint, RemoteImportance, RemoteStep
    from lens_core.settings import Settings

REMOTE_QUEUE: Mapping[str, Any] = MappingProxyType(
    {"concurrency_id": "remote", "concurrency_limit": 4}
)
"""Events that ask an API: they wait for its answers, not for this machine."""

PUBLIC_LIMITS = MappingProxyType({"max_requests": 200, "answer_tokens": 256, "repeats": 20})
"""The most that a public page takes."""

_ADDRESS = re.compile(r"https://([A-Za-z0-9.-]+)(?::443)?(?:/[A-Za-z0-9._~/-]*)?")


def remote_steps(
    settings: Settings,
    request: RemoteImportanceRequest,
    *,
    cache: MutableMapping[str, Any] | None = None,
) -> Steps:
    """Progress of a run; returns its `RemoteImportance`. Closing it sends nothing more.

    The details of the progress are `RemoteStep`s; the first is the estimate, before anything is
    sent.

    Args:
        settings: of the page.
        request: what is asked.
        cache: answers of before, such as those of one visitor's session, which are not asked for
            again; never shared among visitors, who pay with keys of their own.

    Raises:
        UserError: the page does not allow it, or the run raises a `LensError`.
    """
    with user_errors():
        check(settings, request)
        endpoint = endpoint_of(request)
        check_address(settings, endpoint)
        stop = threading.Event()

        def work() -> Generator[RemoteStep, None, RemoteImportance]:
            return (yield from _asked(endpoint, request, cache, stop))

        run = in_background(work)
        try:
            return (yield from _said(run))
        finally:
            # At once, also while an answer is waited for; the thread itself ends behind it.
            stop.set()
            run.close()


def estimated(settings: Settings, request: RemoteImportanceRequest) -> RemoteStep:
    """What a run would send, as its first step; the address is not looked at.

    Raises:
        UserError: an option outside its range, or nothing to mask.
    """
    from lens_core.remote import RemoteOptions, RemoteStep, remote_estimate

    with user_errors():
        check(settings, request)
        estimate = remote_estimate(request.prompt, RemoteOptions(**request.options))
    return RemoteStep("estimate", 0, 0, estimate, None, 0, 0, ())


def endpoint_of(request: RemoteImportanceRequest) -> Endpoint:
    """Where the request goes, with its key.

    Raises:
        InputError: no address, no model, or a key that cannot be one.
    """
    from lens_core.remote import Endpoint

    key = request.api_key
    secret = None if key is None else key.get_secret_value()
    return Endpoint(request.base_url, request.remote_model, secret)


def check(settings: Settings, request: RemoteImportanceRequest) -> None:
    """Refuse what a public page does not take; a local page takes what the core takes.

    Raises:
        PromptError: a text that is too long.
        InputError: more requests, tokens or repetitions than the limit.
    """
    if not settings.public:
        return
    limit = settings.max_prompt_chars
    for name, text in request.texts.items():
        if len(text) > limit:
            raise PromptError(
                f"The {name} has {len(text)} characters; the limit is {limit}. Shorten the {name}."
            )
    for name, most in PUBLIC_LIMITS.items():
        value = getattr(request, name)
        if value is not None and value > most:
            raise InputError(
                f"{name} is {value}; the limit of this page is {most}. Ask for fewer, or run LM "
                "Lens on your own machine."
            )


def check_address(settings: Settings, endpoint: Endpoint) -> None:
    """Refuse addresses behind which a public page could reach what a visitor cannot.

    Raises:
        InputError: another host than those of the settings, no https, or another port than 443.
    """
    if not settings.public:
        return
    matched = _ADDRESS.fullmatch(endpoint.base_url)
    if matched is None or matched[1].lower() not in settings.remote_hosts:
        # Without its path, in which some services hold a key.
        asked = "{0.scheme}://{0.netloc}".format(urlsplit(endpoint.base_url))
        hosts = ", ".join(settings.remote_hosts) or "no host"
        raise InputError(
            f'base_url is at "{asked}"; this page asks {hosts}, with https:// in front and no '
            "port. Take one of them, or run LM Lens on your own machine, where any address can "
            "be asked."
        )


def _asked(
    endpoint: Endpoint,
    request: RemoteImportanceRequest,
    cache: MutableMapping[str, Any] | None,
    stop: threading.Event,
) -> Generator[RemoteStep, None, RemoteImportance]:
    """The steps of the core; returns the last, its result."""
    from lens_core.remote import RemoteImportance, remote_importance_steps

    steps = remote_importance_steps(
        endpoint, request.prompt, cache=cache, stop=stop, **request.options
    )
    for step in steps:
        if isinstance(step, RemoteImportance):
            return step
        yield step
    raise AssertionError("the last step is the result")


def _said(run: Generator[Progress, None, Any]) -> Steps:
    """The progress of a run in words about requests; what comes without a step says nothing new."""
    while True:
        try:
            progress = next(run)
        except StopIteration as end:
            return end.value
        if not progress.detail:
            continue
        step: RemoteStep = progress.detail[-1]
        counted = {"done": step.done, "total": step.total}
        if step.total:
            yield Progress("status.request", counted, detail=progress.detail, **counted)
        else:
            yield Progress("status.connecting", {}, detail=progress.detail)
