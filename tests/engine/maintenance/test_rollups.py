"""Rollups are exact, also after crashes, late commits and retries."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest
from django.db import connection, connections
from django.db.models import Q

from taskqueue.engine import sql
from taskqueue.engine.maintenance import rollups
from taskqueue.engine.queries import stats
from taskqueue.engine.sql.history import rollups as rolling
from taskqueue.engine.tasks import control
from taskqueue.models import EndCount, Reopened, Rollup, RollupMark, Task
from taskqueue.models.rollup import ALL_PIPELINES, MINUTE, QUARTER
from taskqueue.policies.histograms import bucket_of, percentile
from taskqueue.states import TaskStatus
from taskqueue.testing import advance, work
from tests.support.moves import ARRANGE, arranging
from tests.support.pipelines import basic as pipelines

pytestmark = pytest.mark.django_db


def totals(span: int = MINUTE, pipeline: str = ALL_PIPELINES) -> dict[str, int]:
    """The sums of all rows of one span."""
    names = ("succeeded", "recovered", "failed", "cancelled", "failed_attempts")
    rows = list(Rollup.objects.filter(span=span, pipeline=pipeline))
    return {name: sum(getattr(row, name) for row in rows) for name in names}


def one_of_each() -> None:
    """A task that succeeds, one that recovers, one that fails for good, and one that is cancelled."""
    pipelines.one_step.enqueue(1)
    pipelines.declined_pipeline.enqueue()
    pipelines.broken["three"] = 1
    pipelines.three_steps.enqueue(1)
    work()
    advance(seconds=30)
    work()
    Task.objects.filter(pk=pipelines.one_step.enqueue(1).pk).update(
        status=TaskStatus.CANCELLED, finished_at=datetime.now(UTC)
    )


EACH = {"succeeded": 2, "recovered": 1, "failed": 1, "cancelled": 1, "failed_attempts": 2}


def test_finished_tasks_are_counted_in_total_and_per_pipeline():
    one_of_each()
    advance(minutes=3)

    rollups.roll_up()

    assert totals() == totals(QUARTER) == EACH
    nothing = dict.fromkeys(EACH, 0)
    assert totals(pipeline="engine/declined") == {**nothing, "failed": 1, "failed_attempts": 1}
    assert totals(QUARTER, "engine/three-steps") == {**nothing, "succeeded": 1, "recovered": 1, "failed_attempts": 1}


def test_the_current_minute_is_counted_while_it_passes():
    pipelines.one_step.enqueue(1)
    work()
    advance(seconds=10)

    rollups.roll_up()

    assert totals()["succeeded"] == totals(QUARTER)["succeeded"] == 1
    mark = RollupMark.objects.get()
    assert mark.final_until <= mark.rolled_up_until <= datetime.now(UTC)


def test_the_current_minute_is_not_rewritten_without_new_ends():
    pipelines.one_step.enqueue(1)
    work()
    advance(minutes=3)
    rollups.roll_up()
    mark = RollupMark.objects.get()
    now = mark.rolled_up_until.replace(second=0, microsecond=0) + timedelta(seconds=40)

    same = rollups.Watermark(now, now - timedelta(seconds=20), now, now - timedelta(minutes=5), has_reopened=False)

    assert rollups.next_window(same) is None


def test_rolling_up_again_changes_nothing():
    one_of_each()
    advance(minutes=3)
    rollups.roll_up()
    counted = Rollup.objects.filter(Q(succeeded__gt=0) | Q(failed__gt=0) | Q(cancelled__gt=0)).order_by("pk")
    before = list(counted.values())
    assert before
    long_ago = datetime.now(UTC) - timedelta(hours=2)
    RollupMark.objects.update(final_until=long_ago, rolled_up_until=long_ago)

    while rollups.roll_up_window():
        pass

    assert list(counted.values()) == before


def test_histograms_count_queue_times_and_durations():
    for seconds in (1, 1, 1, 100):
        task = pipelines.one_step.enqueue(1)
        work()
        Task.objects.filter(pk=task.pk).update(
            queued_seconds=5, blocked_seconds=50, waiting_seconds=500, executing_seconds=seconds
        )
    advance(minutes=3)

    rollups.roll_up()

    row = Rollup.objects.get(span=QUARTER, pipeline="engine/one-step", succeeded=4)
    assert row.ran[bucket_of(timedelta(seconds=1))] == 3
    assert row.ran[-1] == 1
    assert len(row.ran) == bucket_of(timedelta(seconds=100)) + 1
    assert row.waited[bucket_of(timedelta(seconds=5))] == 4
    assert (row.queued_seconds, row.blocked_seconds, row.waiting_seconds, row.backoff_seconds) == (20, 200, 2000, 0)
    assert row.executing_seconds == 103
    p50 = percentile(row.ran, 0.5)
    assert p50 is not None
    assert timedelta(seconds=0.8) < p50 < timedelta(seconds=1.2)


def test_an_old_task_without_phases_is_counted_by_its_timestamps():
    with arranging():
        Task.objects.filter(pk=pipelines.one_step.enqueue(1).pk).update(
            status=TaskStatus.SUCCEEDED,
            created_at=datetime.now(UTC) - timedelta(seconds=25),
            started_at=datetime.now(UTC) - timedelta(seconds=20),
            finished_at=datetime.now(UTC) - timedelta(seconds=10),
        )
    Task.objects.update(queued_seconds=None, executing_seconds=None)

    rollups.roll_up()

    row = Rollup.objects.get(span=QUARTER, pipeline="engine/one-step")
    assert (row.ran[-1], len(row.ran)) == (1, bucket_of(timedelta(seconds=10)) + 1)
    assert (row.waited[-1], len(row.waited)) == (1, bucket_of(timedelta(seconds=5)) + 1)


def test_failures_are_grouped_by_error_pipeline_and_step():
    for _ in range(3):
        pipelines.declined_pipeline.enqueue()
    work()
    advance(minutes=3)
    rollups.roll_up()

    [group] = stats.failure_groups(stats.range_stats(stats.RANGES["1h"]), limit=6)

    last = Task.objects.order_by("-finished_at").first()
    assert last is not None
    assert (group.error_type, group.pipeline, group.step) == ("Permanent", "engine/declined", "declined")
    assert (group.last_message, group.last_task, group.number) == ("card declined", last.pk, 3)


def later(minutes: int, monkeypatch) -> None:
    """Move the ends of all tasks into the past by so many minutes."""
    moved = ORIGINAL_LOCK_MARK.replace(
        "statement_timestamp()", f"(statement_timestamp() + interval '{minutes} minutes')"
    )
    monkeypatch.setattr(rolling, "LOCK_WATERMARK", moved)


ORIGINAL_LOCK_MARK = rolling.LOCK_WATERMARK

MOMENTS = ["counted and closed", "counted, not closed", "not counted yet"]


def up_to(moment: str, monkeypatch) -> None:
    """Roll up until the current ends are provisional or final."""
    advance(minutes=3)
    if moment == "counted, not closed":
        writing = "statement_timestamp() - interval '20 minutes'"
        monkeypatch.setattr(
            rolling, "LOCK_WATERMARK", ORIGINAL_LOCK_MARK.replace("(SELECT since FROM writers)", writing)
        )
    if moment != "not counted yet":
        roll_all()


def roll_all() -> None:
    """Roll up until nothing is left."""
    while rollups.roll_up_window():
        pass


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_retried_task_is_subtracted_from_the_rollups(moment, monkeypatch):
    task, other = pipelines.declined_pipeline.enqueue(), pipelines.declined_pipeline.enqueue()
    work()
    up_to(moment, monkeypatch)

    control.retry(task.pk)
    roll_all()
    later(5, monkeypatch)
    roll_all()

    assert (totals()["failed"], totals(QUARTER)["failed"], totals(QUARTER, "engine/declined")["failed"]) == (1, 1, 1)
    [row] = Rollup.objects.filter(span=QUARTER, pipeline=ALL_PIPELINES, failed=1)
    assert (sum(row.ran), sum(row.waited)) == (1, 1)
    assert not Reopened.objects.exists()
    assert Task.objects.get(pk=other.pk).status == TaskStatus.FAILED


@pytest.mark.parametrize("moment", MOMENTS)
def test_end_counters_never_fall(moment, monkeypatch):
    task = pipelines.declined_pipeline.enqueue()
    work()
    up_to(moment, monkeypatch)
    before = sum(EndCount.objects.values_list("failed", flat=True))

    control.retry(task.pk)
    work()
    later(5, monkeypatch)
    roll_all()

    count = EndCount.objects.get(pipeline="engine/declined")
    assert before <= count.failed == 2
    assert count.failed_attempts == 2
    Task.objects.all().delete()
    Rollup.objects.all().delete()
    assert EndCount.objects.get(pipeline="engine/declined").failed == 2


def test_a_task_that_succeeds_after_a_retry_counts_as_repaired(monkeypatch):
    pipelines.broken["three"] = 100
    task = pipelines.three_steps.enqueue(1)
    while Task.objects.get(pk=task.pk).status != TaskStatus.FAILED:
        work()
        advance(hours=20)
    pipelines.broken.clear()
    roll_all()
    control.retry(task.pk)
    work()
    later(5, monkeypatch)
    roll_all()

    assert totals(QUARTER)["failed"] == 0
    [row] = Rollup.objects.filter(span=QUARTER, pipeline=ALL_PIPELINES, succeeded=1)
    assert (row.repaired, row.recovered) == (1, 1)


def test_queue_depths_are_sampled():
    pipelines.one_step.enqueue(1)
    pipelines.one_step.enqueue(2)
    advance(minutes=10)

    rollups.roll_up()

    for pipeline in (ALL_PIPELINES, "engine/one-step"):
        row = Rollup.objects.get(span=MINUTE, pipeline=pipeline)
        assert row.queued == 2
        assert 600 <= row.oldest_seconds <= 900


def test_old_rollups_are_deleted():
    rollups.roll_up()
    mark = RollupMark.objects.get().final_until
    days = timedelta(days=1)
    for span, age in ((MINUTE, 1), (MINUTE, 3), (QUARTER, 34), (QUARTER, 36)):
        Rollup.objects.create(span=span, at=mark - age * days, pipeline="kept")
    RollupMark.objects.update(rolled_up_until=mark - timedelta(minutes=1), final_until=mark - timedelta(minutes=1))

    rollups.roll_up()

    assert set(Rollup.objects.filter(pipeline="kept").values_list("span", "at")) == {
        (MINUTE, mark - 1 * days),
        (QUARTER, mark - 34 * days),
    }


class Crash(Exception):
    """A crash of the process."""


def test_a_crash_between_any_two_statements_keeps_counts_exact(monkeypatch):
    one_of_each()
    advance(minutes=3)
    fetch = sql.fetch

    for survived in range(40):
        left = survived

        def fragile(execute, statement, *arguments):
            nonlocal left
            if "SAVEPOINT" not in statement:
                if left == 0:
                    raise Crash
                left -= 1
            return execute(statement, *arguments)

        monkeypatch.setattr(rollups, "fetch", partial(fragile, fetch))
        try:
            with connection.execute_wrapper(fragile):
                rollups.roll_up()
        except Crash:
            continue
        break
    else:
        pytest.fail("it never came to its end")

    assert survived > 10
    assert totals() == totals(QUARTER) == EACH


END = "UPDATE taskqueue_task SET status = 'failed', error = '{}', finished_at = statement_timestamp() WHERE id = %s"


@pytest.mark.django_db(transaction=True)
def test_an_end_that_commits_late_is_counted(monkeypatch):
    slow = pipelines.one_step.enqueue(1)
    other = connections.create_connection("default")
    try:
        other.set_autocommit(False)
        with other.cursor() as cursor:
            cursor.execute(ARRANGE)
            cursor.execute(END, [slow.pk])
        pipelines.one_step.enqueue(2)
        Task.objects.exclude(pk=slow.pk).update(status=TaskStatus.CANCELLED, finished_at=datetime.now(UTC))
        later(5, monkeypatch)
        rollups.roll_up()

        assert (totals()["cancelled"], totals()["failed"]) == (1, 0)
        mark = RollupMark.objects.get()
        assert mark.rolled_up_until - mark.final_until >= timedelta(minutes=4)

        other.commit()
        rollups.roll_up()

        assert (totals()["cancelled"], totals()["failed"]) == (1, 1)
        assert (totals(QUARTER)["cancelled"], totals(QUARTER)["failed"]) == (1, 1)
        mark = RollupMark.objects.get()
        assert mark.rolled_up_until - mark.final_until < timedelta(minutes=1)
    finally:
        other.close()


@pytest.mark.django_db(transaction=True)
def test_one_of_two_notifiers_rolls_up_and_the_other_continues(monkeypatch):
    one_of_each()
    advance(minutes=3)
    fetch = sql.fetch
    reached, go_on, seen = threading.Event(), threading.Event(), []

    def slow(statement, values):
        if statement == rolling.MOVE_WATERMARK and threading.current_thread() is first:
            reached.set()
            go_on.wait(90)
        return fetch(statement, values)

    def as_first():
        try:
            rollups.roll_up()
        finally:
            connection.close()

    monkeypatch.setattr(rollups, "fetch", slow)
    first = threading.Thread(target=as_first)
    first.start()
    assert reached.wait(90)
    seen.append(rollups.roll_up_window())
    go_on.set()
    first.join()
    rollups.roll_up()

    assert seen == [False]
    assert totals() == totals(QUARTER) == EACH


def test_the_first_sweep_counts_existing_history():
    Task.objects.all().delete()  # whatever another test has left for good
    pipelines.one_step.enqueue(1)
    work()
    advance(days=20)
    pipelines.one_step.enqueue(1)
    work()
    advance(days=3)

    while rollups.roll_up_window():
        pass

    assert totals(QUARTER)["succeeded"] == 2
    assert Rollup.objects.filter(pipeline=ALL_PIPELINES).count() < 8


def test_an_idle_sweep_reads_twice_and_writes_nothing(django_assert_num_queries):
    rollups.roll_up()
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    RollupMark.objects.update(final_until=tomorrow, rolled_up_until=tomorrow)

    with django_assert_num_queries(4):  # whether there is a mark; a transaction, in which nothing is due
        rollups.roll_up()
