"""An event that is routed by a process without the pipeline's code: the next one that has it makes the task, once."""

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
from taskqueue.engine.runtime.liveness import LOCK_SPACE, SETTLING, SILENCE
from taskqueue.models import Event, Pipeline, Skip, Task, Trigger, Wait
from taskqueue.testing import advance, work
from tests.support.database.backlogs import STATISTICS, forget_statistics, unchecked
from tests.support.database.plans import code, explain, touched
from tests.support.database.races import at_once, die_after
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
    """Send it from a process that knows no pipeline; it is routed there."""
    with own_registry(empty=True):
        event = send(name, {"number": number})
    event.refresh_from_db()
    assert event.routed_at is not None
    return event


def kinds() -> list[str]:
    return list(Skip.objects.order_by("pk").values_list("kind", flat=True))


def test_a_singleton_under_way_stands_in_for_the_start():
    under_way = single.enqueue(1)

    event = send_elsewhere("deferred/go")
    work()

    assert list(Task.objects.values_list("pk", flat=True)) == [under_way.pk]
    skip = Skip.objects.get()
    assert (skip.kind, skip.task_id, skip.event_id) == ("singleton", under_way.pk, event.pk)


def test_what_has_to_be_quiet_first_waits_for_it():
    for number in range(3):
        send_elsewhere("deferred/calm", number)
    start_deferred()

    task = Task.objects.get()
    assert (task.status, task.payload) == ("scheduled", {"number": 2})
    assert kinds() == ["debounced"] * 2


def test_a_batch_gets_the_events_as_its_items():
    for number in range(2):
        send_elsewhere("deferred/item", number)
    work()

    assert Task.objects.get().result == 2


def test_what_cancels_the_task_does_so():
    send_elsewhere("deferred/begin", 7)
    work()
    assert Task.objects.get().status == "waiting"

    send_elsewhere("deferred/end", 7)

    assert Task.objects.get().status == "cancelled"
    assert not Wait.objects.filter(outcome="").exists()


def test_the_sender_is_told_that_the_start_is_to_come():
    sent = send_elsewhere("deferred/begin")
    told: Any = event_sending.find(sent.pk)

    assert told.started_tasks == []
    (skip,) = told.skipped
    assert skip.kind == "deferred"
    assert "does not know the pipeline deferred/doomed" in skip.reason

    work()
    told = event_sending.find(sent.pk)
    assert [task.pipeline_id for task in told.started_tasks] == ["deferred/doomed"]
    assert told.skipped == []


def test_of_two_services_with_different_code_each_starts_its_own():
    with own_registry(empty=True):
        pipeline("deferred/here", on="deferred/both")(lambda: None)
        sync_pipelines()
        with own_registry(empty=True):
            pipeline("deferred/there", on="deferred/both")(lambda: None)
            sync_pipelines()
            event = send("deferred/both", {})
            work()
            assert list(Task.objects.values_list("pipeline", flat=True)) == ["deferred/there"]
        assert dispatch.look(1).chores
        work()
        work()

    assert sorted(Task.objects.filter(event=event).values_list("pipeline", "status")) == [
        ("deferred/here", "succeeded"),
        ("deferred/there", "succeeded"),
    ]
    assert not Skip.objects.exists()


def test_only_who_knows_it_has_something_to_do():
    send_elsewhere("deferred/begin")

    assert dispatch.look(1).chores
    with own_registry(empty=True):
        assert not dispatch.look(1).chores
        assert start_deferred() == 0
    assert start_deferred() == 1
    assert not dispatch.look(1).chores


def test_several_who_look_at_once_start_it_once():
    for number in range(10):
        send_elsewhere("deferred/begin", number)

    started = at_once(4, start_deferred)

    assert sum(started) == 10
    assert Task.objects.count() == 10
    assert not Skip.objects.exists()


def test_whoever_dies_in_the_middle_has_started_nothing_twice(monkeypatch):
    send_elsewhere("deferred/begin")
    die_after(monkeypatch, "start")
    with pytest.raises(SystemExit):
        start_deferred()
    assert (Task.objects.count(), kinds()) == (0, ["deferred"])
    monkeypatch.undo()

    assert start_deferred() == 1
    assert (Task.objects.count(), kinds()) == (1, [])


def test_the_events_of_a_pipeline_whose_code_is_gone_start_nothing_and_hold_up_nothing():
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


def test_a_start_outlives_the_time_for_which_its_pipeline_keeps_history():
    send_elsewhere("deferred/short")
    advance(days=6)
    call_command("prune")

    work()

    assert Task.objects.get().result == 1


def test_a_start_that_came_too_late_is_not_made_up_for():
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
def test_a_deferred_start_is_found_among_many_skips_by_index(counted):
    forget_statistics()
    Pipeline.objects.create(name="deferred/gone")
    event = Event.objects.create(name="deferred/old")
    with unchecked() as cursor:
        cursor.execute(MANY_SKIPS.replace("n % 2", "n %% 2"), [event.pk])
        if counted:
            cursor.execute("ANALYZE taskqueue_skip")
    known = {**code(["deferred/doomed", "deferred/single"]), "passed": []}
    look = {**known, "limit": 1, "lock_space": LOCK_SPACE, "silence": SILENCE, "settling": SETTLING}

    for statement, values, most in (
        (sql.LOOK, look, 1),
        (sql.DEFERRED, {**known, "after": 0}, 1),
        (sql.GIVE_UP_STARTS, {"days": 7}, 201),
    ):
        tree = explain(statement, values)
        assert touched(tree, "taskqueue_skip") <= most, [node for node in tree if node.get("Relation Name")]
