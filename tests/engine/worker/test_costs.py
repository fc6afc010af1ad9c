"""The statements and commits of the hot path."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import transaction
from django.db.models.functions import Now

from taskqueue import Rate, each, pipeline, step
from taskqueue.engine.maintenance import dispatch
from taskqueue.engine.queries.status import status_of
from taskqueue.engine.queries.tasks import listing
from taskqueue.models import Step, Task
from taskqueue.testing import InProcessWorker
from tests.support.database.costs import costs
from tests.support.leases import take
from tests.support.pipelines.basic import one_step, three_steps
from tests.support.pipelines.deduplicated import only


@step(rate=Rate(1_000_000, per=timedelta(seconds=1), burst=1000, name="test/costs"))
def cheap(number: int) -> int:
    return number


@pipeline("costs/rated")
def rated(number: int) -> int:
    return cheap(number)


@step
def same(number: int) -> int:
    return number


@pipeline("costs/one-by-one")
def one_by_one(steps: int) -> int:
    return len(each(same, range(steps), limit=1))


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("options", [{}, {"key": "k"}, {"priority": 5, "labels": {"tenant": "a"}}])
def test_enqueue_costs_one_statement_which_commits_and_notifies(options):
    one_step.enqueue(1)

    with costs(statements=1, commits=1):
        one_step.using(**options).enqueue(1)


@pytest.mark.django_db(transaction=True)
def test_in_a_transaction_each_task_costs_one_statement_and_the_transaction_one_notification():
    one_step.enqueue(1)

    with costs(statements=2 + 1, commits=1), transaction.atomic():
        one_step.enqueue(1)
        one_step.enqueue(2)


@pytest.mark.django_db(transaction=True)
def test_a_singleton_costs_one_more_query():
    only.enqueue("a")

    with costs(statements=3, commits=1):  # look, insert; the ring is apart
        only.enqueue("b")


@pytest.mark.django_db(transaction=True)
def test_a_claim_costs_one_commit():
    with InProcessWorker() as worker:
        one_step.enqueue(1)
        with costs(statements=1, commits=1):
            take(worker.row.pk)


@pytest.mark.django_db(transaction=True)
def test_an_idle_dispatch_costs_one_statement():
    with costs(statements=1):
        dispatch.run_due(2)


@pytest.mark.django_db(transaction=True)
def test_a_task_costs_one_commit_for_each_step():
    with InProcessWorker() as worker:
        for number in range(10):
            one_step.enqueue(number)
        heartbeat_and_first_claim = 2
        with costs(statements=heartbeat_and_first_claim + 10, commits=heartbeat_and_first_claim + 10):
            assert len(worker.work()) == 10

        for number in range(10):
            three_steps.enqueue(number)
        with costs(statements=heartbeat_and_first_claim + 10 * 3, commits=heartbeat_and_first_claim + 10 * 3):
            assert len(worker.work()) == 10


@pytest.mark.django_db(transaction=True)
def test_a_parallel_step_that_passes_its_slot_on_costs_one_statement():
    one_by_one.enqueue(10)
    with InProcessWorker() as worker:
        worker.work(budget=timedelta(0))  # suspends the task
        heartbeat_and_first_claim, journal_and_end = 2, 2
        # The last one finds no other; its checkpoint; the end, the parent's step, and the next claim.
        last = 1 + 1 + 3
        with costs(statements=heartbeat_and_first_claim + 9 + last + journal_and_end):
            assert len(worker.work()) == 11


@pytest.mark.django_db
def test_an_execution_after_the_first_reads_all_checkpoints_in_one_query():
    with InProcessWorker() as worker:
        three_steps.enqueue(5)
        take(worker.row.pk)
        Task.objects.update(status="queued")
        with costs(statements=1 + 1 + 1 + 2 + 1):  # beat, claim, journal, two steps, the third with the end
            worker.work()


@pytest.mark.django_db
@pytest.mark.parametrize("rows", [1, 20])
def test_lists_and_status_cost_the_same_for_any_number_of_tasks(rows):
    task = three_steps.enqueue(0)
    for number in range(1, rows):
        three_steps.enqueue(number)

    with costs(statements=1):
        assert len(list(listing()[:50])) == rows
    with costs(statements=2):  # the task, and what may block a queued one
        status_of(task.pk)


@pytest.mark.django_db
def test_the_status_of_a_task_that_has_ended_or_fanned_out_costs_one_statement():
    task = three_steps.enqueue(0)
    Step.objects.bulk_create(
        Step(
            task=task, key=f"page#{number}", name="page", kind="parallel", status="waiting", input_hash="",
            started_at=Now(), finished_at=Now(),
        )
        for number in range(3)
    )  # fmt: skip
    Task.objects.filter(pk=task.pk).update(status="waiting", started_at=Now(), due_at=None)
    with costs(statements=1):
        assert status_of(task.pk).waiting_for == "3 parallel steps"

    Task.objects.filter(pk=task.pk).update(status="cancelled", finished_at=Now())
    with costs(statements=1):
        assert status_of(task.pk).status == "cancelled"


@pytest.mark.django_db(transaction=True)
def test_a_step_with_a_rate_costs_one_statement_more():
    with InProcessWorker() as worker:
        for number in range(10):
            rated.enqueue(number)
        worker.work()  # mirrors the rate and uses its row
        for number in range(10):
            rated.enqueue(number)
        heartbeat_and_first_claim = 2
        with costs(statements=heartbeat_and_first_claim + 10 * 3, commits=heartbeat_and_first_claim + 10 * 3):
            assert len(worker.work()) == 10
