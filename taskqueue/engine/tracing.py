"""Traces with OpenTelemetry: a span for each execution of a task and each attempt of a step.

A trace is carried by its `traceparent` (W3C Trace Context), which is stored with tasks and events. Without the extra
`opentelemetry`, or a tracer provider of the project, there are no spans, and it is carried all the same. No message of
an error is in a span: it may hold secrets.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from typing import Any, Final, TypeVar

from taskqueue import context
from taskqueue.engine.runtime.lease import Lease
from taskqueue.engine.runtime.outcomes import Failed, Outcome, RetryLater, Unwinding

try:
    from opentelemetry import context as otel_context
    from opentelemetry import trace
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
except ImportError:
    HAS_OPENTELEMETRY = False
else:
    HAS_OPENTELEMETRY = True
    TRACER: Final = trace.get_tracer("taskqueue")
    PROPAGATOR: Final = TraceContextTextMapPropagator()

Ended = TypeVar("Ended", bound=Outcome)
FLUSH_MILLISECONDS: Final = 3_000
"""How long a stopping worker process may take to send its last spans."""

carried: ContextVar[str] = ContextVar("taskqueue_traceparent", default="")
"""The trace of the task or event that this code runs for, where no span is current."""


def is_tracing() -> bool:
    """Whether spans go anywhere: the extra is installed, and the project has set a tracer provider."""
    return HAS_OPENTELEMETRY and not isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider)


def current_traceparent() -> str:
    """What new tasks and events continue: the current span, else the trace that came with the task or request."""
    if is_tracing():
        headers: dict[str, str] = {}
        PROPAGATOR.inject(headers)
        if found := headers.get("traceparent"):
            return found
    request = context.current_request.get()
    return carried.get() or (request.traceparent if request is not None else "")


@contextmanager
def carrying(traceparent: str) -> Iterator[None]:
    """Let the tasks that this code creates continue a stored trace."""
    token = carried.set(traceparent)
    try:
        yield
    finally:
        carried.reset(token)


class TaskSpan:
    """The span of one execution of a task, from the claim until the outcome is known."""

    def __init__(self, lease: Lease) -> None:
        self.traceparent = lease.traceparent
        self._span: Any = None
        if is_tracing():
            self._span = TRACER.start_span(
                f"process {lease.pipeline}",
                PROPAGATOR.extract({"traceparent": lease.traceparent}, otel_context.Context()),
                kind=trace.SpanKind.CONSUMER,
                attributes={
                    "messaging.system": "taskqueue",
                    "messaging.operation.name": "process",
                    "messaging.operation.type": "process",
                    "messaging.destination.name": lease.pipeline,
                    "messaging.message.id": str(lease.task),
                    "taskqueue.queue": lease.queue,
                    "taskqueue.execution": lease.number,
                },
            )

    def make_current(self) -> None:
        """Make it the current span of this context, which is the task's own."""
        carried.set(self.traceparent)
        if self._span is not None:
            otel_context.attach(trace.set_span_in_context(self._span))

    def note(self, outcome: Ended) -> Ended:
        """Record how the execution ended. Returns the outcome."""
        if self._span is not None:
            self._span.set_attribute("taskqueue.outcome", type(outcome).__name__)
            if isinstance(outcome, Failed):
                mark_error(self._span, outcome.error_type)
            elif isinstance(outcome, RetryLater):
                mark_error(self._span, outcome.failed.error_type)
        return outcome

    def end(self, error: BaseException | None = None) -> None:
        """End it, with an error that is not the author's if there was one, such as a lost database."""
        if self._span is not None:
            if error is not None:
                mark_error(self._span, type(error).__qualname__)
            self._span.end()

    def __enter__(self) -> TaskSpan:
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: object) -> None:
        self.end(error)


def step_span(key: str, name: str, *, attempt: int) -> AbstractContextManager[Any]:
    """The span of one attempt of a step, around the author's function and the record of its result."""
    return attempt_span(key, name, attempt) if is_tracing() else nullcontext()


@contextmanager
def attempt_span(key: str, name: str, attempt: int) -> Iterator[None]:
    attributes: dict[str, Any] = {"taskqueue.step.key": key, "taskqueue.step.name": name, "taskqueue.attempt": attempt}
    with TRACER.start_as_current_span(
        f"step {name}", attributes=attributes, record_exception=False, set_status_on_exception=False
    ) as span:
        try:
            yield
        except BaseException as error:
            if not isinstance(error, Unwinding):
                mark_error(span, type(error).__qualname__)
            raise


def mark_error(span: Any, kind: str) -> None:
    span.set_status(trace.Status(trace.StatusCode.ERROR, kind))
    span.set_attribute("error.type", kind)


def flush() -> None:
    """Send the spans that wait, before this process ends: a child process runs no exit handlers."""
    if HAS_OPENTELEMETRY and (force := getattr(trace.get_tracer_provider(), "force_flush", None)) is not None:
        force(FLUSH_MILLISECONDS)
