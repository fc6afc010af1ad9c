"""Which task this code is running for, if any: the one thread between the author's calls and the engine."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Protocol
from uuid import UUID

if TYPE_CHECKING:
    from taskqueue.definitions import StepDefinition


class CurrentTask(Protocol):
    """What code that runs inside a task may know and say about it."""

    @property
    def id(self) -> UUID:
        """The task's id."""
        ...

    @property
    def pipeline(self) -> str:
        """The name of its pipeline."""
        ...

    @property
    def key(self) -> str:
        """Its idempotency key; empty when it has none."""
        ...

    @property
    def labels(self) -> dict[str, str]:
        """The labels that its caller gave it."""
        ...

    @property
    def attempt(self) -> int:
        """Which try this is of the step that calls, or of the body between steps; from 1."""
        ...

    def progress(self, fraction: float, note: str = "") -> None:
        """Report how far it is, as a number from 0 to 1, and in words. Costs nothing: the heartbeat writes it."""
        ...


class RunningTask(CurrentTask, Protocol):
    """What the authoring objects ask of the engine while a task runs."""

    def call(self, step: StepDefinition, explicit_key: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run a plain step, or recall its result."""
        ...

    def acall(
        self, step: StepDefinition, explicit_key: str, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Awaitable[Any]:
        """Run an `async def` step, or recall its result."""
        ...


current: ContextVar[RunningTask | None] = ContextVar("taskqueue_current", default=None)
"""The task whose body or step this code runs in; None everywhere else."""

current_step: ContextVar[str] = ContextVar("taskqueue_current_step", default="")
"""The key of the step that this code runs in; empty between steps and outside of tasks."""

Stopping = Callable[[], bool]
"""Asked between steps: shall this worker hand its task back?"""
