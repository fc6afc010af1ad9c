"""Cron: each scheduled run is enqueued at most once, also after outages and crashes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest

from taskqueue import Singleton, current_task, pipeline
from taskqueue.definitions import registry
from taskqueue.engine.catalog.sync import sync_pipelines
from taskqueue.engine.maintenance import dispatch
from taskqueue.engine.maintenance.cron import enqueue_due
from taskqueue.engine.tasks import control
from taskqueue.errors import DefinitionError
from taskqueue.models import Pipeline, Schedule, Skip, Task
from taskqueue.testing import advance, work
from tests.support.database.races import run_concurrently

scheduled_times: list[datetime | None] = []
HALF_AN_HOUR_AWAY = f"{(datetime.now(UTC).minute + 30) % 60} * * * *"
"""Its last run is about half an hour old, whenever these tests run."""


@pytest.fixture(autouse=True)
def _own_registry(request):
    """Each test has only the schedules that it defines."""
    before = dict(registry._pipelines)
    registry._pipelines.clear()
    scheduled_times.clear()
    yield
    registry._pipelines.clear()
    registry._pipelines.update(before)


def clocked(expression=HALF_AN_HOUR_AWAY, **options):
    """Define a pipeline with this schedule and sync it to the database."""

    @pipeline("cron/report", cron=expression, **options)
    def report(name: str = "daily") -> str:
        scheduled_times.append(current_task().scheduled_for)
        return name

    sync_pipelines()
    return report


def schedule():
    return Schedule.objects.get(pipeline="cron/report")


def skips():
    return list(Skip.objects.order_by("pk").values_list("kind", "reason"))


@pytest.mark.django_db
def test_a_run_creates_one_task_with_its_scheduled_time():
    clocked()
    scheduled_at = schedule().next_at
    assert work() == []
    advance(hours=1)

    work()
    work()

    task = Task.objects.get()
    assert (task.status, task.result, task.payload) == ("succeeded", "daily", {"name": "daily"})
    assert scheduled_times == [task.cron_at] == [scheduled_at - timedelta(hours=1)]
    assert (schedule().last_at, schedule().next_at) == (task.cron_at, task.cron_at + timedelta(hours=1))
    assert skips() == []


@pytest.mark.django_db
def test_a_task_without_a_schedule_has_no_scheduled_time():
    clocked().enqueue()
    work()

    assert scheduled_times == [None]


@pytest.mark.django_db
def test_each_day_has_its_own_run():
    clocked("0 3 * * *")
    for _ in range(3):
        advance(days=1)
        work()

    assert len(scheduled_times) == Task.objects.count() == 3
    days = list(Task.objects.order_by("pk").values_list("cron_at", flat=True))
    assert [later - earlier for earlier, later in pairwise(days)] == [timedelta(days=1)] * 2


@pytest.mark.django_db
@pytest.mark.parametrize(("misfire", "runs"), [("skip", 0), ("once", 1), ("all", 72)])
def test_runs_missed_in_an_outage_follow_the_misfire_policy(misfire, runs):
    clocked(misfire=misfire)
    first = schedule().next_at - timedelta(days=3)
    advance(days=3)

    work()

    made = list(Task.objects.order_by("cron_at").values_list("cron_at", flat=True))
    assert len(made) == len(scheduled_times) == runs
    newest = first + timedelta(hours=71)
    assert made == {"skip": [], "once": [newest], "all": [first + timedelta(hours=n) for n in range(72)]}[misfire]
    assert schedule().next_at == first + timedelta(hours=72)
    expected = {
        "skip": [f'72 runs from {first:%Y-%m-%d %H:%M} UTC on came too late, and misfire is "skip".'],
        "once": [f'71 runs from {first:%Y-%m-%d %H:%M} UTC on came too late, and misfire is "once".'],
        "all": [],
    }[misfire]
    assert skips() == [("misfire", reason) for reason in expected]


@pytest.mark.django_db
def test_skip_enqueues_a_run_less_than_a_minute_late():
    clocked("* * * * *", misfire="skip")
    Schedule.objects.filter(pipeline="cron/report").update(
        next_at=datetime.now(UTC).replace(second=0, microsecond=0) - timedelta(minutes=10)
    )

    enqueue_due()

    assert Task.objects.count() == 1
    assert [kind for kind, _reason in skips()] == ["misfire"]


@pytest.mark.django_db
def test_all_enqueues_a_long_outage_in_parts():
    clocked("* * * * *", misfire="all")
    first = datetime.now(UTC).replace(second=0, microsecond=0) - timedelta(minutes=250)
    Schedule.objects.filter(pipeline="cron/report").update(next_at=first)

    enqueue_due()

    made = list(Task.objects.order_by("cron_at").values_list("cron_at", flat=True))
    assert made == [first + timedelta(minutes=n) for n in range(len(made))]
    assert len(made) in {251, 252}
    assert skips() == []


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("before", "expected"),
    [
        # 02:30 does not exist on 30 March: it runs right after the change.
        ("2025-03-29T01:00", ["2025-03-29T01:30", "2025-03-30T01:00", "2025-03-31T00:30"]),
        # 02:30 comes twice on 26 October: it runs once, the first time.
        ("2025-10-24T22:00", ["2025-10-25T00:30", "2025-10-26T00:30", "2025-10-27T01:30"]),
    ],
)
def test_a_local_time_skipped_or_repeated_runs_once(before, expected):
    clocked("30 2 25-31 3,10 *", timezone="Europe/Berlin", misfire="all")
    Schedule.objects.filter(pipeline="cron/report").update(next_at=datetime.fromisoformat(f"{before}+00:00"))

    enqueue_due()

    made = Task.objects.order_by("cron_at").values_list("cron_at", flat=True)[:3]
    assert [f"{scheduled_at:%Y-%m-%dT%H:%M}" for scheduled_at in made] == expected


@pytest.mark.django_db
def test_runs_of_a_paused_pipeline_are_skipped_on_time():
    clocked(misfire="all")
    Pipeline.objects.update(paused_at=datetime.now(UTC), paused_by="dana", pause_reason="the disk is full")
    advance(hours=2)
    assert dispatch.find_due_work(1).next_due_in == timedelta(0)

    work()
    Pipeline.objects.update(paused_at=None)
    work()

    assert not Task.objects.exists()
    (skip,) = skips()
    assert skip[0] == "paused"
    assert skip[1].endswith("came while the pipeline was paused: by dana: the disk is full")
    assert dispatch.find_due_work(1).next_due_in > timedelta(0)


@pytest.mark.django_db
def test_an_unchanged_schedule_keeps_missed_runs_and_a_changed_one_restarts():
    clocked()
    advance(days=1)
    missed = schedule().next_at
    sync_pipelines()
    assert schedule().next_at == missed

    clocked(HALF_AN_HOUR_AWAY, misfire="skip")
    assert (schedule().next_at, schedule().misfire) == (missed, "skip")

    clocked("0 3 * * *")
    assert schedule().next_at > datetime.now(UTC)


@pytest.mark.django_db
def test_a_schedule_removed_from_the_code_does_not_run():
    clocked()
    registry._pipelines.clear()

    @pipeline("cron/report")
    def report(name: str = "daily") -> str:
        return name

    sync_pipelines()

    assert not Schedule.objects.filter(pipeline="cron/report").exists()


@pytest.mark.django_db
def test_a_schedule_without_local_code_is_left_to_other_processes():
    clocked()
    registry._pipelines.clear()
    advance(hours=2)

    assert enqueue_due() == 0
    assert dispatch.find_due_work(1).next_due_in is None


@pytest.mark.django_db
def test_a_run_with_an_unfinished_singleton_creates_no_task():
    report = clocked(singleton=Singleton())
    first = report.enqueue()
    advance(hours=1)

    enqueue_due()

    assert Task.objects.get().pk == first.pk
    assert [kind for kind, _reason in skips()] == ["singleton"]


@pytest.mark.django_db
def test_an_enqueued_run_is_not_repeated_when_the_schedule_is_set_back():
    clocked()
    advance(hours=1)
    scheduled_at = schedule().next_at
    work()
    Schedule.objects.filter(pipeline="cron/report").update(next_at=scheduled_at)

    work()

    assert Task.objects.count() == 1
    assert [kind for kind, _reason in skips()] == ["misfire"]


@pytest.mark.django_db
def test_an_unreadable_schedule_does_not_stop_other_schedules():
    clocked()

    @pipeline("cron/other", cron=HALF_AN_HOUR_AWAY)
    def other() -> None: ...

    sync_pipelines()
    Schedule.objects.filter(pipeline="cron/report").update(timezone="Mars/Olympus")
    advance(hours=2)

    work()

    assert Task.objects.get().pipeline_id == "cron/other"


@pytest.mark.django_db
def test_invalid_defaults_are_recorded_and_other_schedules_continue(settings):
    clocked()

    @pipeline("cron/other", cron=HALF_AN_HOUR_AWAY)
    def other(text: str = "x" * 100) -> None: ...

    sync_pipelines()
    settings.TASKQUEUE = {"PAYLOAD_MAX_BYTES": 50}
    advance(hours=1)

    work()

    assert Task.objects.get().pipeline_id == "cron/report"
    ((kind, reason),) = skips()
    assert kind == "invalid"
    assert "PAYLOAD_MAX_BYTES" in reason
    assert dispatch.find_due_work(1).next_due_in > timedelta(0)


@pytest.mark.django_db
def test_a_rerun_of_a_scheduled_task_has_no_scheduled_time():
    clocked()
    advance(hours=1)
    work()

    control.rerun(Task.objects.get().pk)
    work()

    assert len(scheduled_times) == 2
    assert scheduled_times[1] is None


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("misfire", ["once", "all"])
def test_concurrent_processes_enqueue_each_run_once(misfire):
    clocked(misfire=misfire)
    advance(hours=50)

    results = run_concurrently(6, enqueue_due)

    assert sum(results) == Task.objects.count() == (1 if misfire == "once" else 50)


def test_a_pipeline_with_required_arguments_cannot_have_a_schedule():
    with pytest.raises(DefinitionError, match="needs name"):

        @pipeline("cron/report", cron="0 3 * * *")
        def report(name: str) -> None: ...


def test_invalid_defaults_are_refused_at_the_definition():
    with pytest.raises(DefinitionError, match="defaults do not fit"):

        @pipeline("cron/report", cron="0 3 * * *")
        def report(name: int = "x") -> None: ...  # type: ignore[assignment]
