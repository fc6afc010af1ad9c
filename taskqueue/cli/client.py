"""What the verbs call: a client of the REST API. There is one over HTTP and one inside the project."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from enum import IntEnum
from typing import Any, ClassVar, NamedTuple

Query = Mapping[str, Any]


class ExitCode(IntEnum):
    """How a command ended, for scripts."""

    DONE = 0
    REFUSED = 1
    """The service refused the request, or a task that the command waited for has failed or was cancelled."""
    USAGE = 2
    NOT_FOUND = 3
    NOT_ALLOWED = 4
    UNAVAILABLE = 5
    """The service or its database did not answer."""
    TIMED_OUT = 124
    INTERRUPTED = 130


class Failure(Exception):
    """Ends a command: the message goes to stderr.

    Args:
        message: what happened.
        remedy: what to do about it; empty if the message says it.
        code: the exit code.
        problem: the body of the refusal, if the service sent one.
    """

    def __init__(
        self, message: str, *, code: ExitCode, remedy: str = "", problem: Mapping[str, Any] | None = None
    ) -> None:
        self.message = message
        self.remedy = remedy
        self.code = code
        self.problem = problem or {}
        super().__init__(message)


class Unavailable(Failure):
    """The service cannot be reached, or cannot answer now; the same request may work later."""

    def __init__(self, message: str, *, remedy: str = "") -> None:
        super().__init__(message, code=ExitCode.UNAVAILABLE, remedy=remedy)


class Answer(NamedTuple):
    """The status and the parsed body of an answer."""

    status: int
    body: Any


class Client(ABC):
    """Calls operations of openapi.yaml. Paths are below `/api/`, with their parts quoted."""

    remedies: ClassVar[Mapping[str, str]] = {}
    """By the code of a problem, what its reader can do."""

    @abstractmethod
    def send(self, method: str, path: str, *, query: Query, body: object, seconds: float) -> Answer:
        """Send a request.

        Args:
            seconds: how long the service may take longer than usual, because the request asks it to wait.

        Raises:
            Unavailable
        """

    def get(self, path: str, query: Query | None = None, *, wait: int = 0) -> Any:
        """The body of an answer.

        Args:
            wait: seconds that the service may wait for the end of a task, if the path is a task's status.

        Raises:
            Failure: the request was refused.
            Unavailable
        """
        asked = {name: value for name, value in (query or {}).items() if value not in (None, "", [])}
        waiting = {"wait": wait} if wait else {}
        return self._accepted(self.send("GET", path, query={**asked, **waiting}, body=None, seconds=wait))

    def post(self, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """The body of an answer; raises as `get` does."""
        return self._accepted(self.send("POST", path, query={}, body=body or {}, seconds=0))

    def patch(self, path: str, body: Mapping[str, Any]) -> Any:
        """The body of an answer; raises as `get` does."""
        return self._accepted(self.send("PATCH", path, query={}, body=body, seconds=0))

    def _accepted(self, answer: Answer) -> Any:
        if answer.status < 300:
            return answer.body
        raise self._failure(answer)

    def _failure(self, answer: Answer) -> Failure:
        problem = answer.body if isinstance(answer.body, dict) else {}
        message = message_of(problem) or f"The service answered {answer.status}."
        remedy = self.remedies.get(problem.get("code", ""), "")
        if answer.status >= 500 or answer.status == 429:
            return Unavailable(message, remedy=remedy)
        return Failure(message, code=code_of(answer.status, problem), remedy=remedy, problem=problem)


def message_of(problem: Mapping[str, Any]) -> str:
    """What a problem says, with its single errors on lines of their own if there are several."""
    detail: str = problem.get("detail", "")
    errors = problem.get("errors", [])
    if len(errors) > 1 or not all(each["detail"] in detail for each in errors):
        detail = "\n".join([detail, *(f"  {each['pointer']}: {each['detail']}" for each in errors)])
    return detail


def code_of(status: int, problem: Mapping[str, Any]) -> ExitCode:
    if status == 404 or is_unknown_pipeline(problem):
        return ExitCode.NOT_FOUND
    return ExitCode.NOT_ALLOWED if status in (401, 403) else ExitCode.REFUSED


def is_unknown_pipeline(problem: Mapping[str, Any]) -> bool:
    """Whether a request was refused because no pipeline has that name, as a value or as a filter."""
    is_filter = problem.get("code") == "invalid-query"
    return problem.get("code") == "unknown-pipeline" or (
        is_filter and any(each["pointer"] == "/pipeline" for each in problem.get("errors", []))
    )
