"""A step that breaks the database session fails by itself, and no later step or task is affected."""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta

import pytest
from django.contrib.auth.models import Group
from django.db import DatabaseError, IntegrityError, connection, transaction

from taskqueue import Retry, StepFailed, pipeline, step
from taskqueue.models import Attempt, Step, Task
from taskqueue.testing import work
from tests.support.endings import finish, reload

pytestmark = pytest.mark.django_db(transaction=True)


def run(sql: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(sql)


def swallow() -> None:
    Group.objects.create(name="taken")
    with suppress(IntegrityError):
        Group.objects.create(name="taken")


def swallow_by_sql() -> None:
    with suppress(DatabaseError):
        run("SELECT no_such_column")


def roll_back() -> None:
    Group.objects.create(name="rolled back")
    transaction.set_rollback(True)


def swallow_inside_an_inner_block() -> None:
    with suppress(ZeroDivisionError), transaction.atomic(savepoint=False):
        Group.objects.create(name=str(1 // 0))


def leave_a_block_open() -> None:
    Group.objects.create(name="in the block")
    transaction.atomic().__enter__()


def close() -> None:
    Group.objects.create(name="closed")
    connection.close()


def forbid_writes() -> None:
    run("SET TRANSACTION READ ONLY")


def hide_the_tables() -> None:
    run("SET LOCAL search_path = pg_catalog")


BREAKS = {
    swallow: ("TransactionBroken", "Wrap the statement that may fail"),
    swallow_by_sql: ("TransactionBroken", "no_such_column"),
    roll_back: ("TransactionBroken", "set_rollback"),
    swallow_inside_an_inner_block: ("TransactionBroken", "savepoint=False"),
    leave_a_block_open: ("TransactionBroken", "left a transaction.atomic() block open"),
    close: ("TransactionBroken", "closed its database connection"),
    forbid_writes: ("InternalError", "read-only"),
    hide_the_tables: ("ProgrammingError", "does not exist"),
}


def test_an_atomic_step_that_breaks_its_transaction_fails_by_its_own_policy(calls):
    @step.atomic(retry=Retry.fixed(timedelta(minutes=1), retries=1))
    def untidy(number: int) -> str:
        calls.append(number)
        list(BREAKS)[number]()
        return "done"

    @step
    def other() -> int:
        return Group.objects.count()

    @pipeline("broken/atomic")
    def body() -> list[list[object]]:
        seen: list[list[object]] = []
        for number in range(len(BREAKS)):
            try:
                untidy(number)
            except StepFailed as error:
                seen.append([error.error_type, error.message, other()])
        return seen

    task = finish(body.enqueue())

    for (error_type, message), (seen_type, seen_message, groups) in zip(BREAKS.values(), task.result, strict=True):
        assert (seen_type, groups) == (error_type, 0)
        assert message in seen_message
    assert calls == [number for number in range(len(BREAKS)) for _ in range(2)]
    assert list(Attempt.objects.filter(task=task).values_list("outcome", flat=True)) == ["failed"] * len(calls)


def test_a_swallowed_error_is_in_the_traceback_of_the_attempt():
    @step.atomic(retry=Retry.never())
    def untidy() -> None:
        swallow()

    @pipeline("broken/traceback")
    def body() -> None:
        untidy()

    finish(body.enqueue())

    traceback = Attempt.objects.get().traceback
    assert "IntegrityError" in traceback
    assert "in swallow" in traceback


def test_a_swallowed_error_does_not_affect_prefetched_tasks():
    @step.atomic(retry=Retry.never())
    def untidy() -> None:
        swallow()

    @pipeline("broken/untidy")
    def bad() -> None:
        untidy()

    @step
    def nothing(number: int) -> int:
        return number

    @pipeline("broken/innocent")
    def good(number: int) -> int:
        return nothing(number)

    bad_tasks = [(bad.enqueue(), [good.enqueue(number) for number in range(4)])[0] for _ in range(3)]

    work()

    assert set(Task.objects.filter(pipeline="broken/innocent").values_list("status", flat=True)) == {"succeeded"}
    assert {reload(task).status for task in bad_tasks} == {"failed"}
    assert set(Attempt.objects.values_list("outcome", "task__pipeline")) == {("failed", "broken/untidy")}


@pytest.mark.parametrize("how", ["COMMIT", "ROLLBACK", "END"])
def test_an_atomic_step_that_ends_its_own_transaction_is_not_repeated(how, calls):
    @step.atomic
    def impatient() -> None:
        calls.append("impatient")
        Group.objects.create(name="committed")
        run(how)

    @pipeline("broken/commit")
    def body() -> None:
        impatient()

    task = finish(body.enqueue())

    assert (task.status, task.error["type"], calls) == ("failed", "InvalidContext", ["impatient"])
    assert "ended its own transaction" in task.error["message"]


def test_an_atomic_step_may_use_savepoints():
    @step.atomic(retry=Retry.never())
    def tidy() -> int:
        Group.objects.create(name="taken")
        with suppress(IntegrityError), transaction.atomic():
            Group.objects.create(name="taken")
        run("SAVEPOINT mine")
        run("ROLLBACK TO SAVEPOINT mine")
        return Group.objects.count()

    @pipeline("broken/savepoint")
    def body() -> int:
        return tidy()

    assert finish(body.enqueue()).result == 1
    assert Group.objects.count() == 1


SETTINGS = {
    "SET statement_timeout = '7s'": "SELECT current_setting('statement_timeout')",
    "SET search_path = pg_catalog": "SELECT current_setting('search_path')",
    "SELECT set_config('work_mem', '64kB', false)": "SELECT current_setting('work_mem')",
    "SET default_transaction_read_only = on": "SELECT current_setting('default_transaction_read_only')",
    "SELECT pg_advisory_lock(77)": "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = 77",
    "LISTEN somewhere": "SELECT count(*) FROM pg_listening_channels()",
    "CREATE TEMP TABLE left_over ()": "SELECT count(*) FROM pg_class WHERE relname = 'left_over'",
}


def asked() -> list[str]:
    seen = []
    with connection.cursor() as cursor:
        for question in SETTINGS.values():
            cursor.execute(question)
            seen.append(str(cursor.fetchone()[0]))
    return seen


@pytest.mark.usefixtures("lane")
@pytest.mark.parametrize("where", ["step", "atomic", "body"])
def test_session_settings_of_a_step_end_with_it(where):
    settings = list(SETTINGS)

    @(step.atomic if where == "atomic" else step)(retry=Retry.never())
    def change(number: int) -> None:
        if where != "body":
            run(settings[number])

    @step(retry=Retry.never())
    def look() -> list[str]:
        return asked()

    @pipeline("broken/settings", retry=Retry.never())
    def body() -> list[list[str]]:
        seen = []
        for number, setting in enumerate(settings):
            if where == "body":
                run(setting)
            try:
                change(number)
            except StepFailed:
                assert where == "atomic", setting
                assert "search_path" in setting
            seen.append(look())
        return seen

    before = asked()
    task = finish(body.enqueue())

    assert task.result == [before] * len(settings), task.error
    assert asked() == before


@pytest.mark.usefixtures("lane")
def test_a_body_that_leaves_a_transaction_open_fails_and_says_so():
    @pipeline("broken/body", retry=Retry.never())
    def body() -> None:
        transaction.atomic().__enter__()
        Group.objects.create(name="never committed")

    task = finish(body.enqueue())

    assert (task.status, task.error["type"]) == ("failed", "InvalidContext")
    assert "body began a database transaction" in task.error["message"]
    assert not Group.objects.exists()


def test_a_body_that_swallows_a_database_error_goes_on():
    @step
    def count() -> int:
        return Group.objects.count()

    @pipeline("broken/swallowing-body")
    def body() -> int:
        swallow_by_sql()
        return count()

    assert finish(body.enqueue()).result == 0


def test_on_commit_hooks_run_once_and_a_failing_one_is_recorded_and_stops_nothing(calls):
    def fail() -> None:
        raise SystemExit("mail server away")

    @step.atomic
    def order() -> int:
        calls.append("order")
        transaction.on_commit(lambda: calls.append("first"))
        transaction.on_commit(fail)
        transaction.on_commit(lambda: calls.append("last"))
        return Group.objects.create(name="ordered").pk

    @step
    def after() -> str:
        return "after"

    @pipeline("broken/hooks")
    def body() -> str:
        order()
        return after()

    task = finish(body.enqueue())

    assert (task.status, task.result, calls) == ("succeeded", "after", ["order", "first", "last"])
    assert Group.objects.count() == 1
    assert list(Step.objects.filter(task=task).order_by("pk").values_list("key", "status", "failures")) == [
        ("order", "succeeded", 0),
        ("after", "succeeded", 0),
    ]
    attempt = Attempt.objects.get(task=task)
    assert (attempt.step_key, attempt.outcome, attempt.error_type) == ("order", "failed", "SystemExit")
    assert "is committed and is not repeated" in attempt.error_message
    assert "mail server away" in attempt.error_message
    assert "in fail" in attempt.traceback


def test_hooks_of_a_transaction_that_is_rolled_back_do_not_run(calls):
    @step.atomic(retry=Retry.never())
    def order() -> None:
        transaction.on_commit(lambda: calls.append("hook"))
        raise LookupError

    @step.atomic
    def other() -> None:
        Group.objects.create(name="other")

    @pipeline("broken/no-hooks")
    def body() -> None:
        try:
            order()
        except StepFailed:
            other()

    assert finish(body.enqueue()).status == "succeeded"
    assert calls == []


def test_a_hook_that_leaves_a_transaction_open_does_not_affect_the_next_step():
    @step.atomic
    def order() -> None:
        transaction.on_commit(lambda: transaction.atomic().__enter__())

    @step
    def after() -> int:
        return Group.objects.count()

    @pipeline("broken/open-hook")
    def body() -> int:
        order()
        return after()

    assert finish(body.enqueue()).result == 0
