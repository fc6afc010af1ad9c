"""A trace goes from the caller over a task to its steps, children and deliveries; no statement is added for it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from opentelemetry import context, trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from taskqueue import Retry, emit, enqueue_many, gather, pipeline, step
from taskqueue.engine import tracing
from taskqueue.models import Event, Task
from taskqueue.testing import InProcessWorker, advance, work
from tests.support.database.costs import costs
from tests.support.endings import reload
from tests.support.event_loops import work_on_event_loop

pytestmark = pytest.mark.django_db(transaction=True)
SOON = Retry.fixed(timedelta(seconds=10), retries=1)
CALLER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@step
def pack(number: int) -> int:
    return number


@step(retry=SOON)
def fail(number: int) -> int:
    raise ConnectionError("card 4111 was refused")


@step
async def weigh(number: int) -> int:
    return number


@step
def order_more(number: int) -> str:
    return str(packing.enqueue(number).pk)


@pipeline("traced/pack")
def packing(number: int) -> int:
    return pack(number)


@pipeline("traced/fail")
def failing(number: int) -> int:
    return fail(number)


@pipeline("traced/weigh")
async def weighing(number: int) -> int:
    return sum(await asyncio.gather(weigh.named("a")(number), weigh.named("b")(number)))


@pipeline("traced/parallel")
def parallel(number: int) -> Any:
    return gather(pack.defer(number), packing.defer(number))


@pipeline("traced/order")
def ordering(number: int) -> str:
    emit("traced/ordered", {"number": number})
    return order_more(number)


@pipeline("traced/ordered", on="traced/ordered")
def ordered(number: int) -> None: ...


@pytest.fixture
def provider() -> TracerProvider:
    return TracerProvider()


@pytest.fixture
def spans(provider, monkeypatch) -> InMemorySpanExporter:
    """The ended spans of this process, as a project's own provider would get them."""
    exporter = InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(tracing, "TRACER", provider.get_tracer("taskqueue"))
    # A process can have one provider only, for ever.
    monkeypatch.setattr(tracing, "is_tracing", lambda: tracing.HAS_OPENTELEMETRY)
    return exporter


@pytest.fixture
def caller(provider, spans) -> Iterator[Any]:
    """The caller's own span."""
    with provider.get_tracer("shop").start_as_current_span("checkout") as span:
        yield span.get_span_context()


def named(exporter: InMemorySpanExporter, name: str) -> list[ReadableSpan]:
    return [span for span in exporter.get_finished_spans() if span.name == name]


def parent_of(span: ReadableSpan) -> Any:
    return span.parent.span_id if span.parent else None


def execute() -> None:
    """Let a worker execute what is due, outside of the caller's span."""
    with tracing.carrying(""):
        token = context.attach(context.Context())
        work()
        context.detach(token)


def test_a_task_and_its_step_are_spans_of_the_callers_trace(caller, spans):
    task = packing.enqueue(7)
    execute()

    (of_task,), (of_step,) = named(spans, "process traced/pack"), named(spans, "step pack")
    assert of_task.kind == trace.SpanKind.CONSUMER
    assert {of_task.context.trace_id, of_step.context.trace_id} == {caller.trace_id}
    assert (parent_of(of_task), parent_of(of_step)) == (caller.span_id, of_task.context.span_id)
    assert dict(of_task.attributes or {}) == {
        "messaging.system": "taskqueue",
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.destination.name": "traced/pack",
        "messaging.message.id": str(task.pk),
        "taskqueue.queue": "default",
        "taskqueue.execution": 1,
        "taskqueue.outcome": "Succeeded",
    }
    assert dict(of_step.attributes or {}) == {
        "taskqueue.step.key": "pack", "taskqueue.step.name": "pack", "taskqueue.attempt": 1,
    }  # fmt: skip
    assert of_task.status.is_ok or of_task.status.is_unset


def test_each_attempt_is_a_span_with_its_error_and_without_its_message(caller, spans):
    failing.enqueue(7)
    execute()
    advance(minutes=1)
    execute()

    steps, tasks = named(spans, "step fail"), named(spans, "process traced/fail")
    assert [span.attributes["taskqueue.attempt"] for span in steps] == [1, 2]
    assert [span.attributes["taskqueue.outcome"] for span in tasks] == ["RetryLater", "Failed"]
    for span in (*steps, *tasks):
        assert span.status.status_code == trace.StatusCode.ERROR
        assert span.attributes["error.type"] == "ConnectionError"
        assert span.context.trace_id == caller.trace_id
        assert "4111" not in span.to_json()


@pytest.mark.parametrize("on_event_loop", [False, True])
def test_concurrent_async_steps_are_spans_below_their_task(caller, spans, monkeypatch, on_event_loop):
    if on_event_loop:
        monkeypatch.setattr(InProcessWorker, "work", work_on_event_loop(InProcessWorker.work))
    weighing.enqueue(7)
    execute()

    (of_task,), steps = named(spans, "process traced/weigh"), named(spans, "step weigh")
    assert {span.attributes["taskqueue.step.key"] for span in steps} == {"a", "b"}
    assert {parent_of(span) for span in steps} == {of_task.context.span_id}
    assert of_task.attributes["taskqueue.outcome"] == "Succeeded"


def test_parallel_steps_and_children_continue_the_trace(caller, spans):
    parallel.enqueue(7)
    execute()

    started = named(spans, "process traced/parallel")
    assert Task.objects.get(pipeline="traced/parallel").status == "succeeded"
    (child,) = named(spans, "process traced/pack")
    assert len(named(spans, "step pack")) == 2
    assert parent_of(child) in {span.context.span_id for span in started}
    assert {span.context.trace_id for span in spans.get_finished_spans()} == {caller.trace_id}


def test_what_a_step_enqueues_and_an_event_starts_continues_the_trace(caller, spans):
    ordering.enqueue(7)
    execute()

    (of_step,), (enqueued,) = named(spans, "step order-more"), named(spans, "process traced/pack")
    assert parent_of(enqueued) == of_step.context.span_id
    (of_event,) = named(spans, "process traced/ordered")
    assert of_event.context.trace_id == caller.trace_id
    assert Event.objects.get().traceparent.split("-")[1] == trace.format_trace_id(caller.trace_id)


def test_a_batch_continues_the_trace_of_its_caller(caller, spans):
    enqueue_many([packing.defer(number) for number in range(2)])
    execute()

    assert [span.context.trace_id for span in named(spans, "process traced/pack")] == [caller.trace_id] * 2


def test_without_a_provider_a_trace_is_carried_to_children_and_events():
    with tracing.carrying(CALLER):
        parallel.enqueue(7)
        ordering.enqueue(7)
    work()

    assert set(Task.objects.values_list("traceparent", flat=True)) == {CALLER}
    assert set(Event.objects.values_list("traceparent", flat=True)) == {CALLER}


def test_a_trace_adds_no_statement_and_no_commit(spans):
    worker = InProcessWorker()
    for traceparent in ("", CALLER):
        with tracing.carrying(traceparent):
            with costs(statements=1, commits=1):
                task = packing.enqueue(7)
            with costs(statements=3, commits=3):  # heartbeat, claim, end with the step
                worker.work()
        assert reload(task).traceparent == traceparent


def test_without_the_extra_there_are_no_spans(monkeypatch, spans):
    monkeypatch.setattr(tracing, "HAS_OPENTELEMETRY", False)
    with tracing.carrying(CALLER):
        task = packing.enqueue(7)
    work()

    assert (reload(task).status, reload(task).traceparent) == ("succeeded", CALLER)
    assert spans.get_finished_spans() == ()
