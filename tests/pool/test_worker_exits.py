"""What a dead process has left: the stack of its crash, the states of its workers, and the losses of their tasks."""

from __future__ import annotations

import os
import threading
from uuid import UUID

import pytest

from taskqueue.engine.maintenance.recovery import POISON, Loss, recover
from taskqueue.engine.runtime import stacks
from taskqueue.engine.runtime.claim_request import ClaimRequest
from taskqueue.engine.runtime.failures import TEXT_MAX_LENGTH
from taskqueue.engine.worker.claims import claim
from taskqueue.engine.worker.hard_timeouts import EXIT_CODE
from taskqueue.models import Attempt, Task, Worker
from taskqueue.pool import worker_exits
from taskqueue.pool.shared_memory import SharedWorkerState, WorkerState
from taskqueue.testing import InProcessWorker
from tests.support.pipelines.basic import one_step

NO_PROCESS = 2**30
FRAMES = "".join(f'  File "/srv/shop/{number}.py", line {number} in wait\n' for number in range(100))
SEGFAULT = -11


def dump(*, crashed: int, threads: int) -> str:
    """What faulthandler writes of a process: the newest thread first, the main thread last."""
    sections = []
    for thread in reversed(range(1, threads + 1)):
        kind = "Current thread" if thread == crashed else "Thread"
        sections.append(f"{kind} 0x{thread:016x} (most recent call first):\n{FRAMES}")
    return (
        "Fatal Python error: Segmentation fault\n\n" + "\n".join(sections) + "\nExtension modules: numpy (total: 1)\n"
    )


@pytest.fixture
def crash():
    """Write the dump of a process that does not run."""

    def write(text: str) -> None:
        with stacks.new_crash_dump.__wrapped__(NO_PROCESS) as file:
            file.write(text)

    yield write
    stacks.crash_dump_path(NO_PROCESS).unlink(missing_ok=True)


def two_executing() -> list[WorkerState]:
    """The states of two threads of a process that has died while each executed a task."""
    states = []
    for thread in (1, 2):
        worker = InProcessWorker()
        one_step.enqueue(thread)
        (lease,) = claim(ClaimRequest(worker.worker))
        states.append(WorkerState(worker.worker, lease.task, "one", thread))
    Worker.objects.update(pid=NO_PROCESS, cluster="one")
    return states


def lost(task: UUID | None) -> Attempt:
    return Attempt.objects.get(task=task, outcome="lost")


@pytest.mark.django_db
def test_the_thread_that_crashed_is_the_first_of_a_long_dump(crash):
    crash(dump(crashed=1, threads=12))
    worker = Worker.objects.create(host=InProcessWorker().row.host, pid=NO_PROCESS, pipelines=[])

    text = stacks.read_crash_dump(worker.pk)

    assert len(text) == TEXT_MAX_LENGTH
    assert text.startswith(
        f"Fatal Python error: Segmentation fault\n\nCurrent thread 0x{1:016x} (most recent call first)"
    )
    assert text.index("\n\nThread 0x") > len(FRAMES)
    assert text.index(f"Thread 0x{12:016x}") < text.index(f"Thread 0x{11:016x}")


def test_a_forgotten_dump_is_deleted_after_a_day(crash):
    path = stacks.crash_dump_path(NO_PROCESS)
    crash(dump(crashed=1, threads=1))
    stacks.delete_old_crash_dumps()
    assert path.exists()

    os.utime(path, (1.0, 1.0))
    stacks.delete_old_crash_dumps()
    assert not path.exists()


def test_a_worker_is_written_with_its_thread_from_another_one():
    state = SharedWorkerState()
    state.write(UUID(int=5), "one")

    heartbeat = threading.Thread(target=state.write_worker, args=(7, 2**40))
    heartbeat.start()
    heartbeat.join()

    assert state.read() == WorkerState(7, UUID(int=5), "one", 2**40)
    state.write_end()
    assert state.read().ended_process
    state.clear()
    assert state.read() == WorkerState()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("is_recovered_before", [False, True])
def test_a_known_crash_is_no_death_for_the_other_tasks(crash, is_recovered_before):
    states = two_executing()
    innocent, culprit = states
    crash(dump(crashed=2, threads=2))
    if is_recovered_before:
        for state in states:
            recover(state.worker, reason="it was silent")

    worker_exits.report(states, SEGFAULT)

    assert lost(culprit.task).error_type == "WorkerLost"
    assert "was lost: its process was killed by SIGSEGV." in lost(culprit.task).error_message
    assert lost(culprit.task).traceback.startswith("Fatal Python error")
    other = lost(innocent.task)
    assert (other.error_type, other.step_key, other.traceback) == ("WorkerLostByOther", "one", "")
    assert other.error_message == (
        f"Worker {innocent.worker} was lost: its process was killed by SIGSEGV, in another of its process's tasks."
    )


@pytest.mark.django_db(transaction=True)
def test_a_hard_timeout_is_no_death_for_the_other_tasks():
    innocent, culprit = two_executing()
    culprit = WorkerState(culprit.worker, culprit.task, "one", 2, ended_process=True)

    worker_exits.report([innocent, culprit], EXIT_CODE)

    assert lost(innocent.task).error_type == "WorkerLostByOther"
    assert lost(culprit.task).error_type == "WorkerLost"


@pytest.mark.django_db(transaction=True)
def test_deaths_by_other_tasks_are_not_poison():
    task = one_step.enqueue(1)
    for _ in range(POISON + 1):
        worker = InProcessWorker()
        claim(ClaimRequest(worker.worker))
        recover(worker.worker, reason="it crashed", loss=Loss(task=task.pk, step="one", error_type="WorkerLostByOther"))

    assert Task.objects.get().status == "queued"


@pytest.mark.django_db(transaction=True)
def test_an_unknown_cause_counts_little_for_all_tasks():
    states = two_executing()

    worker_exits.report(states, -9)

    assert {lost(state.task).error_type for state in states} == {"WorkerLostWithOthers"}
