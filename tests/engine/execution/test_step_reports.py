"""A step that lasts: its lines and its stack can be read while it runs, without its secrets."""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import Any

import pytest
from pydantic import BaseModel, SecretStr

from taskqueue import gather, pipeline, step
from taskqueue.engine import sql
from taskqueue.engine.execution import reports
from taskqueue.engine.execution.activity import Activity, CurrentWork
from taskqueue.engine.worker.heartbeat import Heartbeat
from taskqueue.engine.worker.loop import drain
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
    monkeypatch.setattr(reports, "REPORT_EVERY", 0.02)
    seen.clear()


def see() -> None:
    """Wait for a report that has a line and the step's own frame, and take it down."""
    # A stack that is longer than a report may be loses its outermost frames: while this test asks, it is.
    told = StepReport.objects.exclude(logs=None).filter(stack__contains="in charge")
    seen.extend(eventually(lambda: list(told.values())))


@step
def charge(order: Order) -> int:
    logger.warning("charging %s", order.card.get_secret_value())
    see()
    return order.number


@pipeline("reports/plain")
def plain(order: Order) -> int:
    return charge(order)


@step
def beside(number: int) -> int:
    logger.warning("beside %s", number)
    eventually(lambda: StepReport.objects.exclude(stack="").exists())
    seen.extend(StepReport.objects.values())
    return number


@pipeline("reports/beside")
def with_secrets_beside(order: Order) -> Any:
    return gather(beside.defer(order.number), beside.defer(2))


def execute(heart: Heartbeat) -> None:
    """Work under a beating heart until nothing is left."""
    drain(heart, budget=timedelta(seconds=60), stopping=lambda: False)


def test_lines_and_stack_are_written_while_the_step_runs(heart):
    plain.enqueue(Order(number=7, card=SecretStr("4111-1111")))
    execute(heart)

    [report] = seen
    task = Task.objects.get()
    assert (report["task_id"], report["worker_id"], report["step"]) == (task.pk, heart.worker, "charge")
    assert [line[1:] for line in report["logs"]["lines"]] == [["WARNING", "shop.reports", "charging **********"]]
    assert "in charge" in report["stack"]
    assert "4111" not in str(report)


def test_of_a_parallel_step_whose_parent_has_secrets_the_stack_alone_is_written(heart):
    with_secrets_beside.enqueue(Order(number=7, card=SecretStr("4111-1111")))
    execute(heart)

    assert seen
    assert {report["logs"] for report in seen} == {None}
    assert "in beside" in seen[0]["stack"]


def test_a_lease_that_is_gone_reports_nothing(heart, monkeypatch):
    plain.enqueue(Order(number=7, card=SecretStr("4111-1111")))
    lease = take(heart.worker)
    Task.objects.update(lease=lease.number + 1)

    values = {**lease.fence, "step": "charge", "logs": None, "stack": "x"}
    heart.activity.begin_task(lease)
    with heart._guard:
        assert heart._execute(sql.REPORT_STEP, values) == 0
    assert not StepReport.objects.exists()


def test_a_step_that_is_over_soon_is_not_reported(monkeypatch):
    monkeypatch.setattr(reports, "REPORT_EVERY", 3600.0)
    activity = Activity()
    reporter = reports.Reporter(activity)
    activity.doing = CurrentWork(object(), "charge")  # type: ignore[arg-type]  # never looked at

    assert reporter.news() is None
