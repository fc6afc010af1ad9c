"""Author code that leaves the database connection in a bad state."""

from __future__ import annotations

import sys
from datetime import timedelta

import pytest
from django.contrib.auth.models import Group
from django.db import connection, transaction

from taskqueue import Retry, StepFailed, pipeline, step
from taskqueue.engine.runtime import author_session
from taskqueue.engine.runtime.outcomes import DatabaseLost
from taskqueue.models import Attempt, Step, Task
from taskqueue.testing import work
from tests.support.endings import finish, outputs_of, reload
from tests.support.waiting import eventually

pytestmark = pytest.mark.django_db(transaction=True)


def is_running(query: str) -> bool:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT FROM pg_stat_activity WHERE datname = current_database() AND state = 'active' AND query = %s",
            [query],
        )
        return cursor.fetchone() is not None


def open_by_sql() -> None:
    with connection.cursor() as cursor:
        cursor.execute("BEGIN")


def open_by_autocommit() -> None:
    transaction.set_autocommit(False)


def open_by_atomic() -> None:
    transaction.atomic().__enter__()


@pytest.mark.parametrize("begin", [open_by_sql, open_by_autocommit, open_by_atomic])
def test_a_step_that_leaves_a_transaction_open_fails_and_nothing_of_it_is_kept(begin):
    @step
    def first() -> int:
        return 1

    @step(retry=Retry.never())
    def untidy() -> None:
        begin()
        Group.objects.create(name="never committed")

    @step
    def last() -> int:
        return 3

    @pipeline("disorder/open")
    def body() -> int:
        number = first()
        try:
            untidy()
        except StepFailed as error:
            number += 10 * (error.error_type == "InvalidContext")
        return number + last()

    task = finish(body.enqueue())

    connection.close()  # whatever was not committed is gone now
    assert reload(task).result == 14
    assert list(Step.objects.filter(task=task).order_by("pk").values_list("key", "status")) == [
        ("first", "succeeded"),
        ("untidy", "failed"),
        ("last", "succeeded"),
    ]
    assert not Group.objects.exists()


def test_an_error_in_an_open_transaction_is_retried_on_a_clean_connection(calls):
    @step(retry=Retry.fixed(timedelta(minutes=1), retries=1))
    def untidy() -> int:
        calls.append("untidy")
        if len(calls) == 1:
            transaction.atomic().__enter__()
            raise ConnectionError
        return 1

    @pipeline("disorder/raise")
    def body() -> int:
        return untidy()

    assert finish(body.enqueue()).result == 1
    assert not connection.in_atomic_block


def test_steps_inside_a_transaction_of_the_body_are_refused(calls):
    @step
    def first() -> int:
        calls.append("first")
        return 1

    @pipeline("disorder/body-transaction")
    def body() -> int:
        with transaction.atomic():
            return first()

    task = finish(body.enqueue())

    assert (task.status, task.error["type"], calls) == ("failed", "InvalidContext", [])
    assert "Begin transactions inside steps" in task.error["message"]


def test_a_statement_that_fails_in_a_step_does_not_spoil_the_next_one():
    @step(retry=Retry.never())
    def broken() -> None:
        with connection.cursor() as cursor:
            cursor.execute("SELECT no_such_column")

    @step
    def sound() -> int:
        return Group.objects.count()

    @pipeline("disorder/statement")
    def body() -> int:
        try:
            broken()
        except StepFailed:
            return sound()
        return -1

    assert finish(body.enqueue()).result == 0


@pytest.mark.parametrize("atomic", [False, True])
def test_a_timeout_in_the_middle_of_a_query_ends_it_and_leaves_a_usable_connection(atomic):
    @(step.atomic if atomic else step)(timeout=timedelta(seconds=0.1), retry=Retry.never())
    def slow() -> None:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_sleep(100)")

    @pipeline("disorder/query-timeout")
    def body() -> str:
        try:
            slow()
        except StepFailed as error:
            return error.error_type
        return "in time"

    assert finish(body.enqueue()).result == "StepTimedOut"
    assert Attempt.objects.get().outcome == "timed_out"
    eventually(lambda: not is_running("SELECT pg_sleep(100)"))


def test_an_atomic_steps_writes_are_rolled_back_when_its_result_does_not_fit():
    @step.atomic(retry=Retry.never())
    def create() -> int:
        Group.objects.create(name="staff")
        return "not a number"  # type: ignore[return-value]

    @pipeline("disorder/atomic")
    def body() -> None:
        create()

    assert finish(body.enqueue()).status == "failed"
    assert not Group.objects.exists()


def test_an_atomic_steps_writes_are_rolled_back_when_the_task_was_cancelled_meanwhile():
    @step.atomic
    def create(task: str) -> int:
        Task.objects.filter(pk=task).update(lease=9)
        return Group.objects.create(name="staff").pk

    @pipeline("disorder/atomic-cancelled")
    def body() -> None:
        create(str(Task.objects.get().pk))

    task = body.enqueue()
    work(budget=timedelta(0))

    assert not Group.objects.exists()
    assert outputs_of(task) == {}


def test_a_constraint_that_fails_at_commit_is_a_failed_attempt(calls):
    @step.atomic(retry=Retry.fixed(timedelta(minutes=1), retries=1))
    def link() -> int:
        calls.append("link")
        if len(calls) == 1:
            with connection.cursor() as cursor:  # a foreign key that is checked when the transaction ends
                cursor.execute("INSERT INTO auth_group_permissions (group_id, permission_id) VALUES (1, 1)")
        return 1

    @pipeline("disorder/deferred")
    def body() -> int:
        return link()

    task = finish(body.enqueue())

    assert (task.result, calls) == (1, ["link", "link"])
    assert Attempt.objects.get().error_type == "IntegrityError"


def cut_connection() -> None:
    """Terminate this process's connection from another one, as an administrator or a proxy would."""
    other = connection.copy()
    with other.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(%s)", [connection.connection.info.backend_pid])
    other.close()


def test_a_body_that_catches_everything_does_not_go_on_after_the_database_was_lost(calls):
    @step
    def cut() -> None:
        cut_connection()

    @step
    def compensate() -> None:
        calls.append("compensate")

    @pipeline("disorder/lost")
    def body() -> None:
        try:
            cut()
        except:  # noqa: E722 - what careless authors write
            compensate()

    body.enqueue()
    with pytest.raises(DatabaseLost):
        work()

    assert calls == []


def test_a_connection_lost_during_a_step_keeps_its_result(calls, monkeypatch):
    monkeypatch.setattr(author_session, "TRUSTED_IDLE", 0.0)

    @step
    def long() -> int:
        calls.append("long")
        cut_connection()
        return 1

    @pipeline("disorder/long")
    def body() -> int:
        return long()

    assert finish(body.enqueue()).result == 1
    assert calls == ["long"]


def test_a_connection_lost_in_an_atomic_step_is_no_failed_attempt(calls):
    @step.atomic(retry=Retry.never())
    def unlucky() -> int:
        calls.append("unlucky")
        Group.objects.create(name=f"{len(calls)}")
        if len(calls) == 1:
            cut_connection()
        return Group.objects.count()

    @pipeline("disorder/unlucky")
    def body() -> int:
        return unlucky()

    task = body.enqueue()
    with pytest.raises(DatabaseLost):
        work()
    work()

    assert reload(task).result == 1
    assert calls == ["unlucky", "unlucky"]
    assert [attempt.outcome for attempt in Attempt.objects.filter(task=task)] == ["lost"]


def test_a_step_may_close_its_connection():
    @step
    def close() -> int:
        connection.close()
        return 1

    @pipeline("disorder/close")
    def body() -> int:
        return close()

    assert finish(body.enqueue()).result == 1


def test_a_body_that_exits_fails_its_task_and_not_its_worker():
    @pipeline("disorder/exit", retry=Retry.never())
    def body() -> None:
        sys.exit("done")

    assert finish(body.enqueue()).error == {"type": "SystemExit", "message": "done", "step": None}
