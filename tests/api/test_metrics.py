"""GET /metrics: what Prometheus reads is what the database holds."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.db.models.functions import Now
from django.test.utils import CaptureQueriesContext
from prometheus_client.parser import text_string_to_metric_families

from taskqueue.engine.access.actor import Actor
from taskqueue.engine.actions import tokens
from taskqueue.engine.actions.queues import move_pipeline
from taskqueue.engine.maintenance import rollups
from taskqueue.engine.queries import stats
from taskqueue.engine.tasks import control
from taskqueue.engine.worker.heartbeat_thread import private_connection
from taskqueue.models import Pipeline, RateLimit, RateLimitBucket, Rollup, Task, Worker
from taskqueue.testing import InProcessWorker, work
from tests.support.api import Api, enqueue_order, problem_of, roll_up_ended
from tests.support.pipelines import orders as pipelines

OUTCOMES = ("succeeded", "failed", "cancelled")


def read(api: Api) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Each sample by its name and labels."""
    response = api.get("/metrics")
    assert (response.status_code, response["Content-Type"]) == (200, "text/plain; version=0.0.4; charset=utf-8")
    families = text_string_to_metric_families(response.content.decode())
    samples = [sample for family in families for sample in family.samples]
    found = {(sample.name, frozenset(sample.labels.items())): sample.value for sample in samples}
    assert len(found) == len(samples)
    return found


def of(samples: Any, metric: str, **labels: str) -> float:
    value: float = samples[f"taskqueue_{metric}", frozenset(labels.items())]
    return value


def test_metrics_of_an_empty_database(db, settings):
    settings.DEBUG = True
    Pipeline.objects.all().delete()

    samples = read(Api(SERVER_NAME="localhost"))

    assert of(samples, "live_workers") == 0
    assert of(samples, "rollups_behind_seconds") == 0
    assert not [name for name, labels in samples if dict(labels).get("pipeline")]


def test_unfinished_tasks_are_counted_by_pipeline_and_status(api):
    for number in range(3):
        enqueue_order(f"A{number}")
    enqueue_order("later", run_at=datetime.now(UTC) + timedelta(days=1))
    pipelines.approved.enqueue("A1")
    work()
    for number in range(2):
        enqueue_order(f"B{number}")

    samples = read(api)

    for pipeline, status in (("shop/order", "queued"), ("shop/order", "scheduled"), ("approvals/wait", "waiting")):
        held = Task.objects.filter(pipeline=pipeline, status=status).count()
        assert of(samples, "tasks", pipeline=pipeline, status=status) == held > 0
    assert of(samples, "tasks", pipeline="anything", status="running") == 0
    assert of(samples, "tasks_capped", status="queued") == 0
    assert not [labels for name, labels in samples if dict(labels).get("status") == "succeeded"]


def test_claimable_and_blocked_tasks_are_counted(api):
    for number in range(3):
        enqueue_order(f"A{number}")
    pipelines.anything.enqueue(1)
    Task.objects.update(due_at=Now() - timedelta(minutes=5), sort_at=Now() - timedelta(minutes=5))
    control.pause_pipeline("anything", reason="x", actor=Actor(None, "dana"))

    samples = read(api)

    assert of(samples, "claimable_tasks", pipeline="shop/order", queue="default") == 3
    assert of(samples, "claimable_tasks", pipeline="anything", queue="default") == 0
    assert of(samples, "pipeline_paused", pipeline="anything") == 1
    assert of(samples, "oldest_queued_seconds", pipeline="shop/order", queue="default") == pytest.approx(300, abs=30)
    assert of(samples, "oldest_queued_seconds", pipeline="approvals/wait", queue="default") == 0


def test_tasks_over_a_concurrency_limit_count_as_blocked(api):
    pipelines.limited.enqueue(1)
    work()
    for number in range(2):
        pipelines.limited.enqueue(number)

    samples = read(api)

    assert of(samples, "tasks_blocked", pipeline="one/slot", queue="default") == 2
    assert of(samples, "claimable_tasks", pipeline="one/slot", queue="default") == 0


def test_live_workers_and_claim_errors_are_counted(api):
    with InProcessWorker() as worker:
        Worker.objects.create(
            host="a", pid=1, cluster="c", version="1", pipelines=[], claim_error="no", task_id=uuid4(), executing=1
        )
        Worker.objects.create(host="b", pid=2, cluster="c", version="1", pipelines=[], ended_at=Now())

        samples = read(api)

        assert worker.row.ended_at is None
    assert (of(samples, "live_workers"), of(samples, "workers_claim_errors")) == (2, 1)
    assert (of(samples, "busy_workers"), of(samples, "slots"), of(samples, "busy_slots")) == (1, 2, 1)


def test_queues_are_labels_and_their_workers_counted(api):
    pipelines.anything.enqueue(1)
    move_pipeline("anything", "gpu")
    with InProcessWorker(), InProcessWorker(queues="gpu"), InProcessWorker(queues="gpu") as failing:
        Worker.objects.filter(pk=failing.worker).update(claim_error="no")

        samples = read(api)

    assert of(samples, "claimable_tasks", pipeline="anything", queue="gpu") == 1
    assert (of(samples, "queue_workers", queue="gpu"), of(samples, "queue_workers", queue="default")) == (2, 1)


def test_ended_tasks_are_counted_with_their_phase_seconds(api):
    for number in range(6):
        enqueue_order(f"A{number}")
    pipelines.broken["ship"] = 2
    work()
    roll_up_ended(duration=timedelta(milliseconds=100))

    samples = read(api)

    counts = {outcome: of(samples, "tasks_ended_total", pipeline="shop/order", outcome=outcome) for outcome in OUTCOMES}
    assert counts == {"succeeded": 4, "failed": 2, "cancelled": 0}
    assert of(samples, "failed_attempts_total", pipeline="shop/order") == 2
    for name, phase, total in (("execution", "executing", 0.6), ("queue", "queued", 12)):
        assert of(samples, f"task_{name}_seconds_count", pipeline="shop/order") == 6
        assert of(samples, f"task_{name}_seconds_sum", pipeline="shop/order") == pytest.approx(total)
        assert of(samples, "task_phase_seconds_total", pipeline="shop/order", phase=phase) == pytest.approx(total)
    assert 0 <= of(samples, "rollups_behind_seconds") < 120


def test_histogram_buckets_are_cumulative(api):
    enqueue_order("A1")
    work()
    roll_up_ended(duration=timedelta(milliseconds=100))

    buckets = sorted(
        (float(dict(labels)["le"]), value)
        for (name, labels), value in read(api).items()
        if name == "taskqueue_task_execution_seconds_bucket" and ("pipeline", "shop/order") in labels
    )

    assert [value for _le, value in buckets] == sorted(value for _le, value in buckets)
    assert (buckets[0], buckets[-1]) == ((0.004, 0), (float("inf"), 1))
    assert (dict(buckets)[0.064], dict(buckets)[0.128]) == (0, 1)
    assert 1048.576 in dict(buckets)


def test_counters_never_fall_after_pruning_or_retries(api):
    for number in range(3):
        enqueue_order(f"A{number}")
    pipelines.broken["ship"] = 3
    work()
    roll_up_ended(duration=timedelta(milliseconds=100))
    before = read(api)

    for task in Task.objects.filter(status="failed"):
        control.retry(task.pk)
    while rollups.roll_up_window():
        pass
    retried = read(api)
    Task.objects.all().delete()
    Rollup.objects.all().delete()
    pruned = read(api)

    counters = [key for key in before if key[0].endswith(("_total", "_bucket", "_sum", "_count"))]
    assert len(counters) > 30
    assert [key for key in counters if not before[key] <= retried[key] <= pruned[key]] == []
    assert of(pruned, "tasks_ended_total", pipeline="shop/order", outcome="failed") == 3


def test_admissions_of_a_rate_are_counted(api):
    rate = RateLimit.objects.create(name="api", declared_count=1, declared_per="0:01:00", declared_burst=1)
    RateLimitBucket.objects.create(rate=rate, theoretical_arrival_at=Now(), admitted=7)
    held = RateLimit.objects.create(name="held", declared_count=1, declared_per="0:01:00", declared_burst=1)
    RateLimitBucket.objects.create(rate=held, theoretical_arrival_at=Now(), blocked_until=Now() + timedelta(minutes=1))

    samples = read(api)

    assert (of(samples, "rate_admitted_total", rate="api"), of(samples, "rate_blocked", rate="api")) == (7, 0)
    assert of(samples, "rate_blocked", rate="held") == 1


def test_the_number_of_queries_is_constant(api):
    def queries() -> int:
        with CaptureQueriesContext(connection) as captured:
            read(api)
        return len(captured)

    few = queries()
    for number in range(20):
        enqueue_order(f"A{number}")
        Pipeline.objects.create(name=f"many/{number}", payload_schema={}, result_schema={}, retry=[])

    assert queries() == few == 11


def test_metrics_need_view_task(caller_with, anonymous):
    assert problem_of(anonymous.get("/metrics")) == (401, "login-required", [])
    assert problem_of(caller_with("view_pipeline").get("/metrics")) == (403, "not-allowed", [])


def test_a_scraper_can_use_a_token(db):
    user = User.objects.create_user("prometheus")
    user.user_permissions.set(Permission.objects.filter(codename="view_task"))
    scraper = Api(
        HTTP_AUTHORIZATION=f"Bearer {tokens.issue(user, name='scraper')[1]}",
        HTTP_ACCEPT="application/openmetrics-text;version=1.0.0;q=0.8,text/plain;version=0.0.4;q=0.7",
    )

    assert of(read(scraper), "live_workers") == 0


def test_a_slow_database_is_a_503(api, monkeypatch):
    monkeypatch.setattr(stats, "TIME_LIMIT", timedelta(milliseconds=50))
    with private_connection() as other:
        other.autocommit = False
        other.execute("LOCK TABLE taskqueue_rollup IN ACCESS EXCLUSIVE MODE")

        refused = api.get("/metrics")

        other.rollback()
    assert problem_of(refused) == (503, "database-unavailable", [])


def test_metrics_only_support_get(api):
    assert problem_of(api.post("/metrics", {})) == (405, "method-not-allowed", [])
