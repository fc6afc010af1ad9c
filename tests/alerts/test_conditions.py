"""Each condition: what is below the threshold, and what is at or beyond it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection

from taskqueue.engine import sql
from taskqueue.engine.alerts.conditions import CONDITIONS
from taskqueue.engine.catalog.sync import sync_pipelines
from taskqueue.engine.maintenance import rollups
from taskqueue.engine.queries import pipeline_stats, stats
from taskqueue.models import Pipeline, Rollup, Schedule, Skip
from taskqueue.states import SkipKind
from taskqueue.testing import InProcessWorker, advance, work
from tests.support.database.plans import nodes, plan, sequential_scans
from tests.support.pipelines.basic import one_step
from tests.support.pipelines.orders import limited
from tests.support.receivers import receiver, status
from tests.support.subscriptions import subscribe

pytestmark = pytest.mark.django_db

NAME = one_step.definition.name


def found(condition, threshold=None):
    """What a condition finds, by subject."""
    checked = CONDITIONS[condition]
    return {each.subject: each for each in checked.read(checked.threshold if threshold is None else threshold)}


def ended(days, *, failed, succeeded, pipeline=NAME):
    """Tasks that ended so long ago."""
    at = rollups.quarter_of(datetime.now(UTC) - timedelta(days=days))
    Rollup.objects.create(span=15, at=at, pipeline=pipeline, failed=failed, succeeded=succeeded)


def test_failures_are_compared_with_the_days_before():
    ended(0, failed=5, succeeded=5)
    ended(3, failed=10, succeeded=90)
    ended(8, failed=100, succeeded=0)

    (finding,) = found("failure-rate", 40).values()
    assert (finding.subject, finding.value) == (NAME, 40)
    assert finding.text == "5 of 10 tasks failed in the last hour: 50%, usually 10%."
    assert finding.link == f"task/?pipeline={NAME.replace('/', '%2F')}&status=failed"
    assert found("failure-rate", 41) == {}


def test_a_new_pipeline_usually_fails_never():
    ended(0, failed=3, succeeded=0)

    assert found("failure-rate", 100)[NAME].value == 100


def test_two_failures_are_no_rate():
    ended(0, failed=2, succeeded=0)

    assert found("failure-rate", 1) == {}


def test_the_failure_rate_is_that_of_the_overview():
    ended(0, failed=7, succeeded=9)

    (day,) = stats.pipeline_days([NAME]).values()
    assert found("failure-rate")[NAME].value == pytest.approx(100 * day.total.failure_share)


def test_failure_rates_read_by_index():
    for number in range(50):
        for day in range(40):
            ended(day, failed=1, succeeded=1, pipeline=f"p{number}")
    ended(0, failed=9, succeeded=1)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE taskqueue_rollup")

    tree = list(nodes(plan(sql.FAILURE_RATES, {"least": 3})[0]["Plan"]))
    assert "taskqueue_rollup" not in sequential_scans(tree)


def test_the_oldest_queued_task_counts():
    one_step.enqueue(1)
    assert found("oldest-queued") == {}
    advance(minutes=20)

    finding = found("oldest-queued")[NAME]
    (ready,) = (each for each in pipeline_stats.readiness() if each.pipeline == NAME)
    assert ready.oldest is not None
    assert finding.value == pytest.approx(ready.oldest.total_seconds() / 60, abs=1)
    assert finding.text == "A task in queue default has been due for 20 minutes."


def test_a_paused_pipeline_may_have_old_tasks():
    one_step.enqueue(1)
    advance(minutes=20)
    Pipeline.objects.filter(name=NAME).update(paused_at=datetime.now(UTC))

    assert NAME not in found("oldest-queued")


def test_queues_need_workers():
    assert found("workers")["default"].text == "No live worker that can claim takes queue default."
    with InProcessWorker():
        assert "default" not in found("workers", 1)
        assert found("workers", 2)["default"].text == "Only 1 live worker that can claim takes queue default."


def test_a_late_run_is_a_missed_schedule():
    sync_pipelines()
    for minutes, pipeline in ((10, NAME), (1, "engine/three-steps")):
        Schedule.objects.update_or_create(
            pipeline_id=pipeline,
            defaults={
                "expression": "* * * * *",
                "timezone": "UTC",
                "misfire": "skip",
                "next_at": datetime.now(UTC) - timedelta(minutes=minutes),
            },
        )

    late = found("missed-schedule")
    assert late[NAME].text == "Its run is late by 10 minutes."
    assert "engine/three-steps" not in late
    Pipeline.objects.filter(name=NAME).update(paused_at=datetime.now(UTC))
    assert NAME not in found("missed-schedule")


def test_a_skipped_run_is_a_missed_schedule_for_an_hour():
    Skip.objects.create(pipeline_id=NAME, kind=SkipKind.MISFIRE, reason="The run of 10:00 came too late.")
    Skip.objects.create(pipeline_id=NAME, kind=SkipKind.SINGLETON, reason="Another.")

    assert found("missed-schedule")[NAME].text == "The run of 10:00 came too late."
    Skip.objects.update(created_at=datetime.now(UTC) - timedelta(minutes=61))
    assert NAME not in found("missed-schedule")


def test_tasks_that_wait_for_a_limit_count():
    limited.enqueue(0)
    work()
    assert found("limit-full") == {}
    for number in range(2):
        limited.enqueue(number)

    finding = found("limit-full")["one/slot"]
    (ready,) = (each for each in pipeline_stats.readiness() if each.pipeline == "one/slot")
    assert finding.value == ready.blocked == 2
    assert finding.text == "2 tasks wait for a limit."
    assert found("limit-full", 3) == {}
    advance(minutes=20)
    assert "one/slot" not in found("oldest-queued")  # no worker is missing


@pytest.mark.django_db(transaction=True)
def test_deliveries_that_are_sent_again_count(settings):
    settings.TASKQUEUE = {**settings.TASKQUEUE, "WEBHOOKS_ALLOW_PRIVATE": True}
    with receiver(status(500)) as server:
        subscribe(server.address)
        one_step.enqueue(1)
        work()

    (finding,) = found("deliveries-retrying", 1).values()
    assert finding.text == "1 delivery has failed and will be sent again."
    assert found("deliveries-retrying", 2) == {}


def test_a_subscription_fails_for_good():
    subscription = subscribe(failures=2)
    subscribe()

    (finding,) = found("subscription-failing").values()
    assert finding.text == "The last 2 deliveries have failed for good, to https://example.com/hook."
    assert finding.link == f"subscription/{subscription.pk}/change/"


def test_connections_in_use_count():
    ((maximum, left),) = sql.fetch(sql.CONNECTIONS_LEFT, {})

    (finding,) = found("connections", 0.1).values()
    assert finding.text.endswith(f" of {maximum} database connections are in use.")
    assert 0 < finding.value <= 100
    assert left < maximum
    assert found("connections", 100) == {}


def test_each_link_leads_to_a_page(admin_client):
    ended(0, failed=5, succeeded=5)
    limited.enqueue(0)
    work()
    for each in (limited, one_step):
        each.enqueue(1)
    advance(minutes=20)
    Skip.objects.create(pipeline_id=NAME, kind=SkipKind.MISFIRE, reason="Too late.")
    subscribe(failures=2)
    findings = {name: list(found(name, 0.001).values()) for name in CONDITIONS}

    assert [name for name, each in findings.items() if not each] == ["deliveries-retrying"]
    links = {each.link for some in findings.values() for each in some}
    shown = {link: admin_client.get(f"/admin/taskqueue/{link}").status_code for link in links}
    assert {link: status for link, status in shown.items() if status != 200} == {}
