"""What Django documents of tasks and backends in topics/tasks and ref/tasks: `@task`, `using()`, validation, checks."""

from __future__ import annotations

import pickle
from datetime import UTC, datetime, timedelta

import pytest
from asgiref.sync import async_to_sync
from django.test import override_settings
from django.utils.module_loading import import_string

from taskqueue.django_tasks import TaskqueueBackend
from tests.support.django_tasks import tasks
from tests.support.django_tasks.framework import (
    BACKEND,
    DUMMY,
    InvalidTask,
    InvalidTaskBackend,
    Task,
    default_task_backend,
    task,
    task_backends,
)

pytestmark = pytest.mark.smoke

LATER = datetime(2030, 1, 31, 8, tzinfo=UTC)


def test_the_setting_names_the_backend_and_it_supports_everything():
    assert isinstance(task_backends["default"], TaskqueueBackend)
    assert default_task_backend.alias == "default"
    assert default_task_backend.supports_defer
    assert default_task_backend.supports_priority
    assert default_task_backend.supports_get_result
    assert default_task_backend.supports_async_task


def test_the_decorator_makes_a_task():
    assert isinstance(tasks.bare, Task)
    assert (tasks.bare.priority, tasks.bare.queue_name, tasks.bare.run_after) == (0, "default", None)
    assert (tasks.mail.priority, tasks.mail.queue_name, tasks.mail.backend) == (5, "mail", "default")
    assert tasks.mail.name == "mail"
    assert tasks.mail.module_path == "tests.support.django_tasks.tasks.mail"
    assert import_string(tasks.mail.module_path) is tasks.mail


def test_a_task_can_be_called_without_the_queue():
    assert tasks.add.call(1, right=2) == 3
    assert tasks.add_async.call(1) == 2


def test_a_task_can_be_called_from_async_code():
    assert async_to_sync(tasks.add_async.acall)(1) == 2
    assert async_to_sync(tasks.add.acall)(1) == 2


def test_using_makes_a_changed_task():
    changed = tasks.add.using(priority=10, queue_name="mail", run_after=LATER)

    assert (changed.priority, changed.queue_name, changed.run_after) == (10, "mail", LATER)
    assert changed.using(priority=1).run_after == LATER
    assert (tasks.add.priority, tasks.add.queue_name, tasks.add.run_after) == (0, "default", None)
    assert tasks.add.using() == tasks.add


@pytest.mark.skipif(not hasattr(Task, "_reconstruct"), reason="this version of the framework pickles no tasks")
def test_a_task_can_be_pickled():
    assert pickle.loads(pickle.dumps(tasks.mail)) == tasks.mail  # noqa: S301 - its own text


@pytest.mark.parametrize("priority", [-101, 101, 3.1])
def test_a_priority_out_of_range_is_refused(priority):
    with pytest.raises(InvalidTask, match="whole number between -100 and 100"):
        tasks.add.using(priority=priority)


def test_a_naive_time_is_refused():
    with pytest.raises(InvalidTask, match="must be an aware datetime"):
        tasks.add.using(run_after=LATER.replace(tzinfo=None))


def test_a_function_inside_another_is_refused():
    def inner():
        pass

    with pytest.raises(InvalidTask, match="module level"):
        task(inner)


def test_a_task_with_context_takes_it_first():
    with pytest.raises(InvalidTask, match="first argument of 'context'"):
        task(takes_context=True)(tasks.add.func)


def test_an_unknown_backend_is_refused():
    with pytest.raises(InvalidTaskBackend, match="The connection 'unknown' doesn't exist"):
        tasks.add.using(backend="unknown")


def test_only_the_queues_of_the_setting_are_valid():
    with override_settings(TASKS={"default": {"BACKEND": BACKEND, "QUEUES": ["default", "mail"]}}):
        assert tasks.add.using(queue_name="mail").queue_name == "mail"
        with pytest.raises(InvalidTask, match="Queue 'gpu' is not valid for backend"):
            tasks.add.using(queue_name="gpu")
    with override_settings(TASKS={"default": {"BACKEND": BACKEND}}), pytest.raises(InvalidTask, match="'mail'"):
        tasks.add.using(queue_name="mail")
    assert tasks.add.using(queue_name="gpu").queue_name == "gpu", "an empty list allows every queue"


@pytest.mark.django_db
def test_a_task_is_validated_again_when_it_is_enqueued():
    gpu = tasks.add.using(queue_name="gpu")

    with override_settings(TASKS={"default": {"BACKEND": BACKEND}}), pytest.raises(InvalidTask, match="'gpu'"):
        gpu.enqueue(1)


def test_a_queue_that_workers_cannot_name_is_refused():
    with pytest.raises(InvalidTask, match="Use up to 100 small letters"):
        tasks.add.using(queue_name="Mail, urgent")


def test_the_checks_accept_the_project():
    assert default_task_backend.check() == []


def test_the_checks_name_what_is_wrong_with_the_setting():
    wrong = {"BACKEND": BACKEND, "QUEUES": ["Mail"], "OPTIONS": {"retries": 3}}

    with override_settings(TASKS={"default": wrong}):
        messages = default_task_backend.check()

    assert [message.id for message in messages] == ["taskqueue.E013", "taskqueue.E014"]
    assert "TASKS['default'] has the queue 'Mail'" in messages[0].msg
    assert "has an option 'retries'. There are: retry, timeout" in messages[1].msg


def test_another_backend_may_take_single_tasks():
    two = {"default": {"BACKEND": BACKEND}, "dummy": {"BACKEND": DUMMY}}

    with override_settings(TASKS=two):
        result = tasks.add.using(backend="dummy").enqueue(1)

        assert task_backends["dummy"].results == [result]
        assert result.backend == "dummy"


def test_run_after_far_in_the_future_is_kept():
    assert tasks.add.using(run_after=LATER + timedelta(days=1)).run_after == LATER + timedelta(days=1)
