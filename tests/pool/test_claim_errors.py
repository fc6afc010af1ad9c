"""Workers live and cannot claim: they say so where people look, and go on by themselves."""

from __future__ import annotations

import pytest

from taskqueue.engine.enqueue import enqueue
from taskqueue.engine.runtime import notify
from taskqueue.engine.worker.heartbeat import UNANSWERED, live_workers, private_connection, unable_workers
from taskqueue.models import Task, Worker
from tests.support.database.schema_changes import change
from tests.support.waiting import eventually

pytestmark = [pytest.mark.process, pytest.mark.timeout(600)]


def reasons() -> list[str]:
    """Why workers that live cannot claim."""
    return list(unable_workers().values_list("claim_error", flat=True))


def test_a_claim_that_fails_is_told_in_few_lines_of_the_log_and_all_the_time_on_the_workers_rows(start):
    command = start(processes=1)
    change("ALTER TABLE taskqueue_task RENAME COLUMN ready_queue TO ready_queues")
    try:
        eventually(lambda: any("ready_queue" in reason for reason in reasons()), otherwise=command.said)
        failed = Worker.objects.count()
        eventually(lambda: Worker.objects.count() > failed, otherwise=command.said)
    finally:
        change("ALTER TABLE taskqueue_task RENAME COLUMN ready_queues TO ready_queue")

    eventually(lambda: not unable_workers() and live_workers().count() == 1, otherwise=command.said)
    task = enqueue.enqueue("tests/nap", {"seconds": 0})
    eventually(lambda: Task.objects.get(pk=task.pk).status == "succeeded", otherwise=command.said)
    said = command.said()
    # One line for each different error, and the mended table may give one of its own.
    assert 1 <= said.count("Looking for work failed") <= 3
    assert 1 <= said.count("A worker lost the database") <= 3
    assert command.stop() == 0, said


@pytest.mark.slow
def test_a_claim_that_waits_for_a_locked_table_is_told_while_it_waits(start):
    command = start(processes=1)
    other = private_connection()
    with other.transaction():
        other.execute("LOCK TABLE taskqueue_task")
        notify.ring()
        eventually(lambda: reasons() == [UNANSWERED], otherwise=command.said)
    other.close()

    eventually(lambda: reasons() == [], otherwise=command.said)
    assert Worker.objects.count() == 1
    assert command.stop() == 0, command.said()


def test_what_passes_every_except_exception_is_an_outcome_of_its_step_and_the_worker_goes_on(start):
    command = start(processes=1)
    pid = command.workers()[0]
    broken = enqueue.enqueue("tests/break-out", {})

    eventually(lambda: Task.objects.get(pk=broken.pk).status == "failed", otherwise=command.said)
    task = enqueue.enqueue("tests/nap", {"seconds": 0})
    eventually(lambda: Task.objects.get(pk=task.pk).status == "succeeded", otherwise=command.said)

    assert Task.objects.get(pk=broken.pk).error == {"type": "Unheard", "step": "break-out", "message": "a ␀ and a ?"}
    assert command.workers() == [pid]
    assert Worker.objects.count() == 1
    assert "missed a beat" not in command.said()
