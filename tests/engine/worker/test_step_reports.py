"""Reports on a running step: its log lines and its stack can be read, without secrets."""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import Any

import pytest
from pydantic import BaseModel, SecretStr

from taskqueue import gather, pipeline, step
from taskqueue.engine import sql
from taskqueue.engine.execution.activity import Activity, CurrentWork
from taskqueue.engine.worker import step_reports
from taskqueue.engine.worker.heartbeat import Heartbeat
from taskqueue.engine.worker.loop import run_until_idle
from taskqueue.models import StepReport, Task
from tests.support.leases import take
from tests.support.waiting import eventually

pytestmark = pytest.mark.django_db(transaction=True)
logger = logging.getLogger("shop.reports")
seen: list[Any] = []


class Order(BaseModel):
    number: int
    card: SecretStr


@pytest.fixture(autouse=True)
def _at_once(monkeypatch):
    monkeypatch.setattr(step_reports, "REPORT_EVERY", 0.02)
    seen.clear()


def see() -> None:
    """Wait for a report with a log line and the step's own frame, and keep it."""
    # While this function runs, the stack is longer than a report, which then loses its outermost frames.
    found = StepReport.objects.filter(logs__isnull=False, stack__contains="in charge")
    seen.extend(eventually(lambda: list(found.values())))


@step
def charge(order: Order) -> int:
    logger.warning("charging %s", order.card.get_secret_value())
    see()
    return order.number


@pipeline("reports/plain")
def plain(order: Order) -> int:
    return charge(order)


@step
def parallel(number: int) -> int:
    logger.warning("parallel %s", number)
    # As in `see`: a report that is written during the query has no room for this function's frame.
    eventually(lambda: StepReport.objects.filter(stack__contains="in parallel").exists())
    seen.extend(StepReport.objects.values())
    return number


@pipeline("reports/parallel")
def with_concurrent_secrets(order: Order) -> Any:
    return gather(parallel.defer(order.number), parallel.defer(2))


def execute(heartbeat: Heartbeat) -> None:
    """Run the worker loop, with a heartbeat, until no task is left."""
    run_until_idle(heartbeat, budget=timedelta(seconds=60), stopping=lambda: False)


def test_lines_and_stack_are_written_while_the_step_runs(heartbeat):
    plain.enqueue(Order(number=7, card=SecretStr("4111-1111")))
    execute(heartbeat)

    [report] = seen
    task = Task.objects.get()
    assert (report["task_id"], report["worker_id"], report["step"]) == (task.pk, heartbeat.worker, "charge")
    assert [line[1:] for line in report["logs"]["lines"]] == [["WARNING", "shop.reports", "charging **********"]]
    assert "in charge" in report["stack"]
    assert "4111" not in str(report)


def test_a_parallel_step_of_a_parent_with_secrets_foundonly_its_stack(heartbeat):
    with_concurrent_secrets.enqueue(Order(number=7, card=SecretStr("4111-1111")))
    execute(heartbeat)

    assert seen
    assert {report["logs"] for report in seen} == {None}
    assert "in parallel" in seen[0]["stack"]


def test_a_report_under_a_lost_lease_is_not_written(heartbeat, monkeypatch):
    plain.enqueue(Order(number=7, card=SecretStr("4111-1111")))
    lease = take(heartbeat.worker)
    Task.objects.update(lease=lease.number + 1)

    values = {**lease.fence, "step": "charge", "logs": None, "stack": "x"}
    heartbeat.activity.begin_task(lease)
    with heartbeat._thread.guard:
        assert heartbeat._thread.execute(sql.REPORT_STEP, values) == 0
    assert not StepReport.objects.exists()


def test_a_short_step_is_not_reported(monkeypatch):
    monkeypatch.setattr(step_reports, "REPORT_EVERY", 3600.0)
    activity = Activity()
    reporter = step_reports.Reporter(activity)
    activity.current = CurrentWork(object(), "charge")  # type: ignore[arg-type]  # never looked at

    assert reporter.next_report() is None
