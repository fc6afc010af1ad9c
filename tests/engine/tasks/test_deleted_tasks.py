"""A deleted task leaves no step behind, although no foreign key connects them."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from django.contrib import admin
from django.contrib.auth.models import User
from django.db import connection, transaction
from django.db.models import Exists, OuterRef
from django.test import RequestFactory

from taskqueue import each, pipeline, step
from taskqueue.engine.execution.journal import Journal
from taskqueue.engine.runtime.cancel_tree import cancel_with_descendants
from taskqueue.engine.tasks import control
from taskqueue.models import Step, Task
from taskqueue.testing import InProcessWorker, work
from tests.support.database.histories import history
from tests.support.database.races import OpenTransaction, run_until_blocked
from tests.support.leases import take
from tests.support.statements import statements

pytestmark = pytest.mark.django_db

DELETES = re.compile(r"DELETE FROM taskqueue_task\s+WHERE id = (.*?)( RETURNING 1| AND EXISTS .*)?\n")


@step
def double(number: int) -> int:
    return 2 * number


@pipeline("engine/deleted-parallel")
def parallel() -> list[int]:
    return each(double, [1, 2])


def steps_without_task() -> int:
    return Step.objects.filter(~Exists(Task.objects.filter(pk=OuterRef("task_id")))).count()


def checkpoint(journal):
    return journal.checkpoint(key="double", name="double", arguments="[]", output="2", elapsed=timedelta(0))


def test_every_statement_that_deletes_tasks_deletes_their_steps():
    texts = {
        each.name: f"{each.text}\n" for each in statements() if re.search(r"DELETE FROM taskqueue_task\s", each.text)
    }

    assert sorted(texts) == [
        "children/complete_parallel_step",
        "children/delete_tasks",
        "history/retention/prune_tasks",
        "parallel_slots/pass_parallel_slot",
        "parallel_slots/pass_parallel_slot_and_claim",
        "parallel_slots/pass_parallel_slot_and_continue",
    ]
    for text in texts.values():
        (deleted,) = DELETES.findall(text)
        of_steps = text.partition("DELETE FROM taskqueue_step WHERE task_")[2]
        assert of_steps.startswith(f"id = {deleted[0]}")


def test_the_end_of_a_parallel_step_deletes_its_steps():
    parallel.enqueue()

    work()

    assert Task.objects.get().result == [2, 4]
    assert Step.objects.count() == 2
    assert steps_without_task() == 0


def test_cancelling_a_parent_deletes_the_steps_of_its_parallel_steps():
    task = parallel.enqueue()
    with InProcessWorker() as worker:
        worker.work(budget=timedelta(0))
        journal = Journal.load(take(worker.row.pk))
        checkpoint(journal)

        control.cancel(task.pk)

    assert not Task.objects.exclude(pk=task.pk).exists()
    assert not Step.objects.filter(task=journal.lease.task).exists()
    assert steps_without_task() == 0


@pytest.mark.django_db(transaction=True)
def test_a_checkpoint_during_a_cancel_is_deleted_with_its_task():
    parallel.enqueue()
    with InProcessWorker() as worker:
        worker.work(budget=timedelta(0))
        lease = take(worker.row.pk)
        writing = OpenTransaction(lambda: checkpoint(Journal.load(lease)))

        def cancel():
            with transaction.atomic():
                cancel_with_descendants([lease.task], reason="")

        cancelling = run_until_blocked(cancel)
        assert writing.end() == "2"
        cancelling.result(timeout=90)

    assert not Task.objects.filter(pk=lease.task).exists()
    assert not Step.objects.filter(task=lease.task).exists()


@pytest.mark.django_db(transaction=True)
def test_a_checkpoint_after_a_cancel_writes_nothing():
    parallel.enqueue()
    with InProcessWorker() as worker:
        worker.work(budget=timedelta(0))
        lease = take(worker.row.pk)
        cancelling = OpenTransaction(lambda: cancel_with_descendants([lease.task], reason=""))
        writing = run_until_blocked(lambda: checkpoint(Journal.load(lease)))

        cancelling.end()

        assert writing.result(timeout=90) is None
    assert not Step.objects.filter(task=lease.task).exists()


def test_django_deletes_a_tasks_steps_with_it():
    history(2)

    Task.objects.all().delete()

    assert not Step.objects.exists()


def test_the_admin_deletes_no_task():
    request = RequestFactory().get("/")
    request.user = User(is_superuser=True, is_staff=True, is_active=True)

    assert not admin.site.get_model_admin(Task).has_delete_permission(request)


def test_no_foreign_key_leads_from_steps_to_their_task():
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_get_constraintdef(oid) FROM pg_constraint "
            "WHERE contype = 'f' AND conrelid = 'taskqueue_step'::regclass"
        )
        keys = [definition for (definition,) in cursor.fetchall()]

    assert [key.partition(" REFERENCES")[0] for key in keys] == ["FOREIGN KEY (child_id)"]
