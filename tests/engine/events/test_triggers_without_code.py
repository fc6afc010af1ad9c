"""Deferred starts: an event routed without the pipeline's code starts its task once the code is there."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.core.management import call_command

from taskqueue import Batch, CancelOn, Debounce, Singleton, pipeline, wait_for
from taskqueue.engine import sql
from taskqueue.engine.catalog.sync import sync_pipelines
from taskqueue.engine.events import send as event_sending
from taskqueue.engine.events.route import start_deferred
from taskqueue.engine.events.send import send
from taskqueue.engine.maintenance import dispatch
from taskqueue.engine.runtime.liveness import HEARTBEAT_TIMEOUT, LOCK_SPACE, STARTUP_GRACE
from taskqueue.models import Event, Pipeline, Skip, Task, Trigger, Wait
from taskqueue.testing import advance, work
from tests.support.database.backlogs import STATISTICS, forget_statistics, unchecked
from tests.support.database.plans import code, explain, rows_read
from tests.support.database.races import crash_after, run_concurrently
from tests.support.registries import own_registry

pytestmark = pytest.mark.django_db(transaction=True)

DAY = timedelta(days=1)


@pipeline("deferred/single", on="deferred/go", singleton=Singleton())
def single(number: int) -> object:
    return wait_for("deferred/never", timeout=DAY)


@pipeline("deferred/quiet", on="deferred/calm", debounce=Debounce(timedelta(minutes=1)))
def quiet(number: int) -> int:
    return number


@pipeline("deferred/batch", on="deferred/item", batch=Batch(size=2, wait=timedelta(minutes=1)))
def batch(items: list[dict[str, int]]) -> int:
    return len(items)


@pipeline("deferred/doomed", on="deferred/begin", cancel_on=CancelOn("deferred/end", match={"number": "{number}"}))
def doomed(number: int) -> object:
    return wait_for("deferred/never", timeout=DAY)


@pipeline("deferred/short", on="deferred/short", keep=timedelta(hours=1))
def short(number: int) -> int:
    return number


def send_elsewhere(name: str, number: int = 1) -> Event:
    """Send and route an event in a process that knows no pipeline."""
    with own_registry(empty=True):
        event = send(name, {"number": number})
    event.refresh_from_db()
    assert event.routed_at is not None
    return event


def kinds() -> list[str]:
    return list(Skip.objects.order_by("pk").values_list("kind", flat=True))


def test_an_unfinished_singleton_serves_a_deferred_start():
    unfinished = single.enqueue(1)

    event = send_elsewhere("deferred/go")
    work()

    assert list(Task.objects.values_list("pk", flat=True)) == [unfinished.pk]
    skip = Skip.objects.get()
    assert (skip.kind, skip.task_id, skip.event_id) == ("singleton", unfinished.pk, event.pk)


def test_a_deferred_start_is_debounced():
    for number in range(3):
        send_elsewhere("deferred/calm", number)
    start_deferred()

    task = Task.objects.get()
    assert (task.status, task.payload) == ("scheduled", {"number": 2})
    assert kinds() == ["debounced"] * 2


def test_deferred_events_become_batch_items():
    for number in range(2):
        send_elsewhere("deferred/item", number)
    work()

    assert Task.objects.get().result == 2


def test_an_event_cancels_a_deferred_task():
    send_elsewhere("deferred/begin", 7)
    work()
    assert Task.objects.get().status == "waiting"

    send_elsewhere("deferred/end", 7)

    assert Task.objects.get().status == "cancelled"
    assert not Wait.objects.filter(outcome="").exists()


def test_the_sender_sees_the_deferred_start():
    sent = send_elsewhere("deferred/begin")
    found: Any = event_sending.find(sent.pk)

    assert found.started_tasks == []
    (skip,) = found.skipped
    assert skip.kind == "deferred"
    assert "does not know the pipeline deferred/doomed" in skip.reason

    work()
    found = event_sending.find(sent.pk)
    assert [task.pipeline_id for task in found.started_tasks] == ["deferred/doomed"]
    assert found.skipped == []


def test_each_service_starts_the_pipelines_it_knows():
    with own_registry(empty=True):
        pipeline("deferred/here", on="deferred/both")(lambda: None)
        sync_pipelines()
        with own_registry(empty=True):
            pipeline("deferred/there", on="deferred/both")(lambda: None)
            sync_pipelines()
            event = send("deferred/both", {})
            work()
            assert list(Task.objects.values_list("pipeline", flat=True)) == ["deferred/there"]
        assert dispatch.find_due_work(1).sweeps_due
        work()
        work()

    assert sorted(Task.objects.filter(event=event).values_list("pipeline", "status")) == [
        ("deferred/here", "succeeded"),
        ("deferred/there", "succeeded"),
    ]
    assert not Skip.objects.exists()


def test_a_process_without_the_code_starts_nothing():
    send_elsewhere("deferred/begin")

    assert dispatch.find_due_work(1).sweeps_due
    with own_registry(empty=True):
        assert not dispatch.find_due_work(1).sweeps_due
        assert start_deferred() == 0
    assert start_deferred() == 1
    assert not dispatch.find_due_work(1).sweeps_due


def test_concurrent_sweeps_start_a_deferred_pipeline_once():
    for number in range(10):
        send_elsewhere("deferred/begin", number)

    started = run_concurrently(4, start_deferred)

    assert sum(started) == 10
    assert Task.objects.count() == 10
    assert not Skip.objects.exists()


def test_a_crash_during_a_deferred_start_starts_nothing_twice(monkeypatch):
    send_elsewhere("deferred/begin")
    crash_after(monkeypatch, "start")
    with pytest.raises(SystemExit):
        start_deferred()
    assert (Task.objects.count(), kinds()) == (0, ["deferred"])
    monkeypatch.undo()

    assert start_deferred() == 1
    assert (Task.objects.count(), kinds()) == (1, [])


def test_events_of_removed_pipelines_start_and_delay_nothing():
    gone = Pipeline.objects.create(name="deferred/gone")
    Trigger.objects.create(pipeline=gone, event="deferred/old")
    event = send("deferred/old", {})
    work()
    advance(days=6)
    call_command("prune")
    assert (Task.objects.count(), kinds()) == (0, ["deferred"])

    advance(days=2)
    call_command("prune")

    assert kinds() == ["unknown"]
    assert "7 days no worker knew the pipeline deferred/gone" in Skip.objects.get().reason
    advance(days=31)
    call_command("prune")
    assert not Skip.objects.exists()
    assert not Event.objects.filter(pk=event.pk).exists()


def test_a_deferred_start_outlives_its_pipelines_retention():
    send_elsewhere("deferred/short")
    advance(days=6)
    call_command("prune")

    work()

    assert Task.objects.get().result == 1


def test_a_deferred_start_expires():
    send_elsewhere("deferred/begin")
    advance(days=8)
    with own_registry(empty=True):
        call_command("prune")

    work()

    assert (Task.objects.count(), kinds()) == (0, ["unknown"])


MANY_SKIPS = """
INSERT INTO taskqueue_skip (pipeline_id, kind, reason, key, event_id, created_at)
SELECT CASE WHEN n % 2 = 0 THEN 'deferred/gone' ELSE 'deferred/single' END,
    CASE WHEN n % 2 = 0 THEN 'deferred' ELSE 'singleton' END, '', '', %s, now()
FROM generate_series(1, 20000) n
"""


@pytest.mark.django_db(transaction=False)
@pytest.mark.parametrize("counted", STATISTICS)
def test_a_deferred_start_is_found_by_index(counted):
    forget_statistics()
    Pipeline.objects.create(name="deferred/gone")
    event = Event.objects.create(name="deferred/old")
    with unchecked() as cursor:
        cursor.execute(MANY_SKIPS.replace("n % 2", "n %% 2"), [event.pk])
        if counted:
            cursor.execute("ANALYZE taskqueue_skip")
    known = {**code(["deferred/doomed", "deferred/single"]), "skipped": []}
    look = {
        **known,
        "limit": 1,
        "lock_space": LOCK_SPACE,
        "heartbeat_timeout": HEARTBEAT_TIMEOUT,
        "startup_grace": STARTUP_GRACE,
    }

    for statement, values, most in (
        (sql.FIND_DUE_WORK, look, 1),
        (sql.FIND_DEFERRED_STARTS, {**known, "after": 0}, 1),
        (sql.GIVE_UP_DEFERRED_STARTS, {"days": 7}, 201),
    ):
        if statement is sql.GIVE_UP_DEFERRED_STARTS:
            sql.fetch(sql.AVOID_SORTING, {})
        tree = explain(statement, values)
        assert rows_read(tree, "taskqueue_skip") <= most, [node for node in tree if node.get("Relation Name")]
