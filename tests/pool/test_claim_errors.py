"""Workers that are alive and cannot claim show their claim error, and recover by themselves."""

from __future__ import annotations

import pytest

from taskqueue.engine.enqueue import enqueue
from taskqueue.engine.runtime import notify
from taskqueue.engine.worker.heartbeat import CLAIM_UNANSWERED, live_workers, workers_with_claim_errors
from taskqueue.engine.worker.heartbeat_thread import private_connection
from taskqueue.models import Task, Worker
from tests.support.database.schema_changes import change
from tests.support.waiting import eventually

pytestmark = [pytest.mark.process, pytest.mark.timeout(600)]


def reasons() -> list[str]:
    """The claim errors of living workers."""
    return list(workers_with_claim_errors().values_list("claim_error", flat=True))


def test_a_failing_claim_is_logged_rarely_and_shown_on_the_workers(start):
    command = start(processes=1)
    change("ALTER TABLE taskqueue_task RENAME COLUMN ready_queue TO ready_queues")
    try:
        eventually(lambda: any("ready_queue" in reason for reason in reasons()), details=command.output)
        failed = Worker.objects.count()
        eventually(lambda: Worker.objects.count() > failed, details=command.output)
    finally:
        change("ALTER TABLE taskqueue_task RENAME COLUMN ready_queues TO ready_queue")

    eventually(lambda: not workers_with_claim_errors() and live_workers().count() == 1, details=command.output)
    task = enqueue.enqueue("tests/nap", {"seconds": 0})
    eventually(lambda: Task.objects.get(pk=task.pk).status == "succeeded", details=command.output)
    output = command.output()
    # One line for each different error; the repaired table may cause one more.
    assert 1 <= output.count("Looking for work failed") <= 3
    assert 1 <= output.count("A worker lost the database") <= 3
    assert command.stop() == 0, output


@pytest.mark.slow
def test_a_claim_behind_a_locked_table_is_shown_on_the_worker(start):
    command = start(processes=1)
    other = private_connection()
    with other.transaction():
        other.execute("LOCK TABLE taskqueue_task")
        notify.notify_now()
        eventually(lambda: reasons() == [CLAIM_UNANSWERED], details=command.output)
    other.close()

    eventually(lambda: reasons() == [], details=command.output)
    assert Worker.objects.count() == 1
    assert command.stop() == 0, command.output()


def test_a_base_exception_fails_its_step_and_not_the_worker(start):
    command = start(processes=1)
    pid = command.workers()[0]
    broken = enqueue.enqueue("tests/break-out", {})

    eventually(lambda: Task.objects.get(pk=broken.pk).status == "failed", details=command.output)
    task = enqueue.enqueue("tests/nap", {"seconds": 0})
    eventually(lambda: Task.objects.get(pk=task.pk).status == "succeeded", details=command.output)

    assert Task.objects.get(pk=broken.pk).error == {
        "type": "NotAnException",
        "step": "break-out",
        "message": "a ␀ and a ?",
    }
    assert command.workers() == [pid]
    assert Worker.objects.count() == 1
    assert "The heartbeat of worker" not in command.output()
