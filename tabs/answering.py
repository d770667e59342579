"""What all endpoints share: their arguments checked, an operation run, its result as plain JSON."""

from collections.abc import Iterator
from contextlib import closing
from typing import Any

from tabs.requests import Request, checked
from tabs.runtime import Runtime, Steps, result_of, user_errors

Edits = dict[str, Any] | list[dict[str, Any]] | None


class Answering:
    """Endpoints on one runtime."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    def _result(self, op: str, kind: type[Request], given: dict[str, Any]) -> dict[str, Any]:
        """The result of an operation on an endpoint's arguments, as plain JSON values."""
        return result_of(self._steps(op, kind, given)).to_json()

    def _streamed(
        self, op: str, kind: type[Request], given: dict[str, Any]
    ) -> Iterator[dict[str, Any]]:
        """What an operation gives on the way, and at last its result."""
        # Closed when the client goes, which ends the run.
        with closing(self._steps(op, kind, given)) as steps:
            while True:
                try:
                    progress = next(steps)
                except StopIteration as end:
                    yield end.value.to_json()
                    return
                for detail in progress.detail:
                    yield {"schema": f"lens_core/{op}_step/1", **detail}

    def _steps(self, op: str, kind: type[Request], given: dict[str, Any]) -> Steps:
        arguments = {name: value for name, value in given.items() if name != "self"}
        with user_errors():
            request = checked(kind, arguments)
        return self._runtime.steps(op, request)
