"""Bulk enqueue: one statement for many tasks, each like a task that is enqueued alone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import transaction
from pydantic import RootModel

from taskqueue import CancelOn, Limit, Singleton, TaskEnded, pipeline
from taskqueue.engine.enqueue import bulk
from taskqueue.engine.enqueue.enqueue import enqueue
from taskqueue.engine.enqueue.options import Options
from taskqueue.errors import BatchRefused
from taskqueue.models import Pipeline, Skip, Task, Wait
from tests.support.database.costs import costs
from tests.support.registries import own_registry

pytestmark = pytest.mark.django_db
HOUR = timedelta(hours=1)
TIMES = ("created_at", "due_at", "sort_at", "start_by", "deadline_at")
VALUES = ['"\\\n\t', "Grüße 👋", 10**15, 1e300, -0.5, True, None, {"b": [1], "a": {}}]


class Nullable(RootModel[int | None]): ...


@pytest.fixture(autouse=True)
def _pipelines():
    with own_registry():

        @pipeline(
            "bulk/limited",
            version="7",
            concurrency=Limit(2, key="{tenant}"),
            start_within=HOUR,
            finish_within=2 * HOUR,
            cancel_grace=timedelta(minutes=1),
        )
        def limited(tenant: str, value: Any = None) -> None: ...

        @limited.on_failure
        def report(_ended: TaskEnded) -> None: ...

        @pipeline("bulk/plain")
        def plain(value: Any) -> None: ...

        @pipeline("bulk/nullable")
        def nullable(number: Nullable) -> None: ...

        @pipeline("bulk/only", singleton=Singleton(key="{tenant}"))
        def only(tenant: str) -> None: ...

        @pipeline("bulk/cancellable", cancel_on=[CancelOn("bulk/stop", match={"tenant": "{tenant}"})])
        def cancellable(tenant: str) -> None: ...

        yield


def request(name: str, payload: Any, **options: Any) -> bulk.Request:
    return bulk.Request(f"bulk/{name}", payload, Options(**options))


def enqueue_all(*requests: bulk.Request) -> list[Task]:
    with transaction.atomic():
        return bulk.enqueue_all(bulk.check_all(requests))


def columns(task: Task) -> dict[str, Any]:
    """The task's row, with its times relative to its creation."""
    row: dict[str, Any] = dict(Task.objects.filter(pk=task.pk).values().get())
    times = {name: row[name] and row[name] - row["created_at"] for name in TIMES}
    return {**row, **times, "id": None}


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"priority": -7, "labels": {"tenant": 'a"', "\\": "é"}, "subject": "shop.order:7"},
        {"run_at": datetime(2020, 1, 1, tzinfo=UTC), "priority": 600},
    ],
)
@pytest.mark.parametrize("name", ["limited", "plain"])
def test_a_task_in_bulk_has_the_row_of_a_single_one(name, options):
    payload = {"tenant": "a", "value": VALUES} if name == "limited" else {"value": VALUES}

    [in_bulk] = enqueue_all(request(name, payload, **options))

    alone = enqueue(f"bulk/{name}", payload, options=Options(**options))
    assert columns(in_bulk) == columns(alone)
    assert {name: getattr(in_bulk, name) for name in ("status", "labels", "priority", "version")} == {
        name: getattr(alone, name) for name in ("status", "labels", "priority", "version")
    }


def test_a_scheduled_task_in_bulk_has_the_row_of_a_single_one():
    run_at = datetime(2099, 1, 1, tzinfo=UTC)

    [in_bulk] = enqueue_all(request("limited", {"tenant": "a"}, run_at=run_at, priority=5))

    stored = Task.objects.get(pk=in_bulk.pk)
    assert (stored.status, stored.due_at, stored.sort_at) == ("scheduled", run_at, run_at - timedelta(seconds=5))
    assert stored.start_by == run_at + HOUR
    assert (in_bulk.due_at, in_bulk.sort_at, in_bulk.created_at) == (stored.due_at, stored.sort_at, stored.created_at)


def test_a_thousand_tasks_with_keys_take_two_statements():
    requests = [request("plain", {"value": number}, key=f"k{number}") for number in range(1000)]
    enqueue_all(request("plain", {"value": 0}))
    checked = bulk.check_all(requests)

    with costs(statements=2):
        tasks = bulk.enqueue_all(checked)

    assert [task.key for task in tasks] == [each.options.key for each in requests]
    assert list(Task.objects.exclude(key="").order_by("pk").values_list("payload__value", flat=True)) == [*range(1000)]
    assert [task.pk for task in tasks] == sorted(task.pk for task in tasks)


def test_more_than_a_thousand_tasks_take_a_statement_for_each_thousand():
    enqueue_all(request("plain", {"value": 0}))
    checked = bulk.check_all(request("plain", {"value": number}) for number in range(2001))

    with costs(statements=3):
        tasks = bulk.enqueue_all(checked)

    assert [task.pk for task in tasks] == [each.values["id"] for each in checked]


def test_a_statement_ends_when_its_payloads_are_large(monkeypatch):
    enqueue_all(request("plain", {"value": 0}))
    checked = bulk.check_all(request("plain", {"value": "x" * 40}) for _ in range(5))
    monkeypatch.setattr(bulk, "CHUNK_MAX_CHARACTERS", 80)

    with costs(statements=3):
        tasks = bulk.enqueue_all(checked)

    assert [task.pk for task in tasks] == [each.values["id"] for each in checked]


def test_new_pipelines_are_written_in_the_order_of_their_names():
    checked = bulk.check_all([request("plain", {"value": 1}), request("limited", {"tenant": "a"})])

    assert bulk.rows_to_insert(checked)["pipelines"] == ["bulk/limited", "bulk/plain"]


def test_a_payload_may_be_null():
    [in_bulk] = enqueue_all(request("nullable", None))

    alone = enqueue("bulk/nullable", None)
    assert columns(in_bulk) == columns(alone)
    assert Task.objects.get(pk=in_bulk.pk).payload is None


def test_the_first_tasks_of_new_pipelines_describe_them():
    enqueue_all(request("plain", {"value": 1}), request("limited", {"tenant": "a"}), request("plain", {"value": 2}))

    assert set(Pipeline.objects.values_list("name", flat=True)) >= {"bulk/plain", "bulk/limited"}
    assert "value" in Pipeline.objects.get(name="bulk/plain").payload_schema["properties"]


def test_all_kinds_of_requests_are_answered_in_their_order():
    known = enqueue("bulk/plain", {"value": 1}, options=Options(key="known"))

    tasks = enqueue_all(
        request("only", {"tenant": "a"}),
        request("plain", {"value": 1}, key="known"),
        request("plain", {"value": 2}, key="new"),
        request("only", {"tenant": "a"}),
        request("plain", {"value": 2}, key="new"),
        request("plain", {"value": 3}, key="new", force=True),
        request("plain", {"value": 3}, key="new"),
        request("cancellable", {"tenant": "a"}),
        request("plain", {"value": 4}),
    )

    assert [task.duplicate for task in tasks] == [False, True, False, True, True, False, True, False, False]
    assert [tasks[0].pk, known.pk, tasks[2].pk, tasks[5].pk] == [tasks[index].pk for index in (3, 1, 4, 6)]
    assert [task.pipeline_id for task in tasks[7:]] == ["bulk/cancellable", "bulk/plain"]
    assert Task.objects.count() == 1 + 5
    assert Skip.objects.count() == 4
    assert Wait.objects.get(task=tasks[7].pk).event == "bulk/stop"


def test_a_reused_key_refuses_the_tasks_inserted_before_it():
    enqueue("bulk/plain", {"value": 1}, options=Options(key="known"))

    with pytest.raises(BatchRefused) as refused:
        enqueue_all(request("plain", {"value": 0}), request("plain", {"value": 2}, key="known"))

    assert [index for index, _error in refused.value.refusals] == [1]
    assert Task.objects.count() == 1
