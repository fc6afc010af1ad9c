"""Pipelines that the clock starts: each tick at most once, whatever happened in between."""

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
from tests.support.database.races import at_once

ticks: list[datetime | None] = []
HALF_AN_HOUR_AWAY = f"{(datetime.now(UTC).minute + 30) % 60} * * * *"
"""Its last tick is some half an hour old, whenever these tests run."""


@pytest.fixture(autouse=True)
def _own_registry(request):
    """Each test has the pipelines that it defines, and none of the others' clocks."""
    before = dict(registry._pipelines)
    registry._pipelines.clear()
    ticks.clear()
    yield
    registry._pipelines.clear()
    registry._pipelines.update(before)


def clocked(expression=HALF_AN_HOUR_AWAY, **options):
    """A pipeline with this clock, mirrored."""

    @pipeline("clock/report", cron=expression, **options)
    def report(name: str = "daily") -> str:
        ticks.append(current_task().scheduled_for)
        return name

    sync_pipelines()
    return report


def schedule():
    return Schedule.objects.get(pipeline="clock/report")


def skips():
    return list(Skip.objects.order_by("pk").values_list("kind", "reason"))


@pytest.mark.django_db
def test_a_tick_makes_one_task_that_knows_its_tick():
    clocked()
    tick = schedule().next_at
    assert work() == []
    advance(hours=1)

    work()
    work()

    task = Task.objects.get()
    assert (task.status, task.result, task.payload) == ("succeeded", "daily", {"name": "daily"})
    assert ticks == [task.cron_at] == [tick - timedelta(hours=1)]
    assert (schedule().last_at, schedule().next_at) == (task.cron_at, task.cron_at + timedelta(hours=1))
    assert skips() == []


@pytest.mark.django_db
def test_a_task_that_the_clock_did_not_start_has_no_tick():
    clocked().enqueue()
    work()

    assert ticks == [None]


@pytest.mark.django_db
def test_day_after_day_has_its_own_tick():
    clocked("0 3 * * *")
    for _ in range(3):
        advance(days=1)
        work()

    assert len(ticks) == Task.objects.count() == 3
    days = list(Task.objects.order_by("pk").values_list("cron_at", flat=True))
    assert [later - earlier for earlier, later in pairwise(days)] == [timedelta(days=1)] * 2


@pytest.mark.django_db
@pytest.mark.parametrize(("misfire", "runs"), [("skip", 0), ("once", 1), ("all", 72)])
def test_an_outage_of_three_days_is_made_up_for_as_the_policy_says(misfire, runs):
    clocked(misfire=misfire)
    first = schedule().next_at - timedelta(days=3)
    advance(days=3)

    work()

    made = list(Task.objects.order_by("cron_at").values_list("cron_at", flat=True))
    assert len(made) == len(ticks) == runs
    newest = first + timedelta(hours=71)
    assert made == {"skip": [], "once": [newest], "all": [first + timedelta(hours=n) for n in range(72)]}[misfire]
    assert schedule().next_at == first + timedelta(hours=72)
    expected = {
        "skip": [f'72 ticks from {first:%Y-%m-%d %H:%M} UTC on came too late, and misfire is "skip".'],
        "once": [f'71 ticks from {first:%Y-%m-%d %H:%M} UTC on came too late, and misfire is "once".'],
        "all": [],
    }[misfire]
    assert skips() == [("misfire", reason) for reason in expected]


@pytest.mark.django_db
def test_skip_runs_a_tick_that_is_less_than_a_minute_late():
    clocked("* * * * *", misfire="skip")
    Schedule.objects.filter(pipeline="clock/report").update(
        next_at=datetime.now(UTC).replace(second=0, microsecond=0) - timedelta(minutes=10)
    )

    enqueue_due()

    assert Task.objects.count() == 1
    assert [kind for kind, _reason in skips()] == ["misfire"]


@pytest.mark.django_db
def test_all_takes_a_long_outage_in_parts_and_loses_none():
    clocked("* * * * *", misfire="all")
    first = datetime.now(UTC).replace(second=0, microsecond=0) - timedelta(minutes=250)
    Schedule.objects.filter(pipeline="clock/report").update(next_at=first)

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
def test_a_time_that_the_clock_skips_or_repeats_runs_once(before, expected):
    clocked("30 2 25-31 3,10 *", timezone="Europe/Berlin", misfire="all")
    Schedule.objects.filter(pipeline="clock/report").update(next_at=datetime.fromisoformat(f"{before}+00:00"))

    enqueue_due()

    made = Task.objects.order_by("cron_at").values_list("cron_at", flat=True)[:3]
    assert [f"{tick:%Y-%m-%dT%H:%M}" for tick in made] == expected


@pytest.mark.django_db
def test_ticks_of_a_paused_pipeline_are_skipped_in_their_time_and_do_not_pile_up():
    clocked(misfire="all")
    Pipeline.objects.update(paused_at=datetime.now(UTC), paused_by="dana", pause_reason="the disk is full")
    advance(hours=2)
    assert dispatch.look(1).next_due_in == timedelta(0)

    work()
    Pipeline.objects.update(paused_at=None)
    work()

    assert not Task.objects.exists()
    (skip,) = skips()
    assert skip[0] == "paused"
    assert skip[1].endswith("came while the pipeline was paused: by dana: the disk is full")
    assert dispatch.look(1).next_due_in > timedelta(0)


@pytest.mark.django_db
def test_a_clock_that_did_not_change_keeps_what_was_missed_and_a_changed_one_begins_anew():
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
def test_a_pipeline_whose_code_has_no_clock_any_more_is_not_started():
    clocked()
    registry._pipelines.clear()

    @pipeline("clock/report")
    def report(name: str = "daily") -> str:
        return name

    sync_pipelines()

    assert not Schedule.objects.filter(pipeline="clock/report").exists()


@pytest.mark.django_db
def test_a_clock_of_code_that_this_process_does_not_know_is_left_to_others():
    clocked()
    registry._pipelines.clear()
    advance(hours=2)

    assert enqueue_due() == 0
    assert dispatch.look(1).next_due_in is None


@pytest.mark.django_db
def test_a_tick_that_finds_its_singleton_under_way_makes_no_second_one():
    report = clocked(singleton=Singleton())
    first = report.enqueue()
    advance(hours=1)

    enqueue_due()

    assert Task.objects.get().pk == first.pk
    assert [kind for kind, _reason in skips()] == ["singleton"]


@pytest.mark.django_db
def test_a_tick_that_was_taken_is_not_taken_again_when_the_clock_is_set_back():
    clocked()
    advance(hours=1)
    tick = schedule().next_at
    work()
    Schedule.objects.filter(pipeline="clock/report").update(next_at=tick)

    work()

    assert Task.objects.count() == 1
    assert [kind for kind, _reason in skips()] == ["misfire"]


@pytest.mark.django_db
def test_a_schedule_that_cannot_be_read_here_does_not_stop_the_others():
    clocked()

    @pipeline("clock/other", cron=HALF_AN_HOUR_AWAY)
    def other() -> None: ...

    sync_pipelines()
    Schedule.objects.filter(pipeline="clock/report").update(timezone="Mars/Olympus")
    advance(hours=2)

    work()

    assert Task.objects.get().pipeline_id == "clock/other"


@pytest.mark.django_db
def test_defaults_that_fit_no_longer_are_written_down_and_the_other_clocks_go_on(settings):
    clocked()

    @pipeline("clock/other", cron=HALF_AN_HOUR_AWAY)
    def other(text: str = "x" * 100) -> None: ...

    sync_pipelines()
    settings.TASKQUEUE = {"PAYLOAD_MAX_BYTES": 50}
    advance(hours=1)

    work()

    assert Task.objects.get().pipeline_id == "clock/report"
    ((kind, reason),) = skips()
    assert kind == "invalid"
    assert "PAYLOAD_MAX_BYTES" in reason
    assert dispatch.look(1).next_due_in > timedelta(0)


@pytest.mark.django_db
def test_a_rerun_of_a_ticks_task_is_no_tick():
    clocked()
    advance(hours=1)
    work()

    control.rerun(Task.objects.get().pk)
    work()

    assert len(ticks) == 2
    assert ticks[1] is None


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("misfire", ["once", "all"])
def test_each_tick_is_taken_once_however_many_take_ticks(misfire):
    clocked(misfire=misfire)
    advance(hours=50)

    results = at_once(6, enqueue_due)

    assert sum(results) == Task.objects.count() == (1 if misfire == "once" else 50)


def test_a_pipeline_that_needs_arguments_has_no_clock():
    with pytest.raises(DefinitionError, match="needs name"):

        @pipeline("clock/report", cron="0 3 * * *")
        def report(name: str) -> None: ...


def test_defaults_that_do_not_fit_are_found_where_they_are_written():
    with pytest.raises(DefinitionError, match="defaults do not fit"):

        @pipeline("clock/report", cron="0 3 * * *")
        def report(name: int = "x") -> None: ...  # type: ignore[assignment]
