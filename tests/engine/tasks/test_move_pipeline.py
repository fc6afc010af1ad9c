"""A user moves a pipeline to another queue; that queue wins over the code's until it is set back."""

from __future__ import annotations

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User

from taskqueue import TaskEnded, pipeline
from taskqueue.engine.access.actor import Actor
from taskqueue.engine.actions.queues import move_pipeline
from taskqueue.engine.catalog.sync import sync_pipelines
from taskqueue.errors import DefinitionError, InvalidQueue, UnknownPipeline
from taskqueue.models import Pipeline
from taskqueue.models.pipeline import EFFECTIVE_QUEUE

pytestmark = pytest.mark.django_db


@pipeline("moves/report", queue="reports")
def report() -> None: ...


@report.on_failure
def report_failed(ended: TaskEnded) -> None: ...


def queue_of(name: str) -> str:
    """The queue in force; as the model says it, and as a query does."""
    row = Pipeline.objects.annotate(in_query=EFFECTIVE_QUEUE).get(pk=name)
    assert row.in_query == row.effective_queue
    return row.effective_queue


def test_the_code_names_the_queue_of_a_pipeline_and_of_its_handlers():
    sync_pipelines()

    assert queue_of("moves/report") == "reports"
    assert queue_of("moves/report.on-failure") == "reports"
    assert queue_of("demo/task") == "default"
    assert "queue" not in Pipeline.objects.get(pk="moves/report").policies


@pytest.mark.parametrize("queue", ["", "Mail", "a b", "-mail", "m" * 101, None, 7, "mail,gpu"])
def test_an_invalid_queue_is_refused_in_the_code(queue):
    with pytest.raises(DefinitionError, match="small letters, digits"):
        pipeline("moves/refused", queue=queue)(lambda: None)


def test_a_moved_pipeline_stays_when_the_code_is_synced():
    sync_pipelines()
    move_pipeline("moves/report", "night")

    report.definition.policies.__dict__["version"] = "2"
    sync_pipelines()
    assert queue_of("moves/report") == "night"

    move_pipeline("moves/report", "")
    assert queue_of("moves/report") == "reports"


def test_a_move_has_an_audit_entry():
    sync_pipelines()
    dana = Actor(User.objects.create_user("dana").pk, "dana")

    for queue in ("night", "night", ""):
        move_pipeline("moves/report", queue, actor=dana)

    entries = LogEntry.objects.filter(object_id="moves/report").order_by("pk")
    assert [entry.get_change_message() for entry in entries] == [
        "Moved from queue reports to night.",
        "Moved from queue night to reports, the queue in code.",
    ]


def test_a_move_to_an_invalid_queue_is_refused():
    sync_pipelines()

    with pytest.raises(InvalidQueue, match="A queue cannot be called 'Night shift'") as refused:
        move_pipeline("moves/report", "Night shift")
    assert refused.value.errors[0].pointer == "/queue"
    with pytest.raises(UnknownPipeline):
        move_pipeline("moves/missing", "night")
