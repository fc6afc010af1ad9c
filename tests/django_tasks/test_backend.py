"""What `@task` functions get from this engine: pipelines, options, queues, limits, one commit, the admin."""

from __future__ import annotations

import sys
from typing import Any

import pytest
from django.test import override_settings

from taskqueue import Retry, pipeline
from taskqueue.definitions import registry
from taskqueue.django_tasks import register_tasks, task_options
from taskqueue.engine.catalog.sync import sync_pipelines
from taskqueue.engine.enqueue.enqueue import enqueue
from taskqueue.engine.runtime.outcomes import Failed, RetryLater
from taskqueue.engine.tasks import control
from taskqueue.errors import DefinitionError, InvalidContext, InvalidPayload, StepTimedOut, TooLarge
from taskqueue.models import Attempt, Pipeline, Schedule, Step
from taskqueue.models import Task as Row
from taskqueue.policies import Singleton
from taskqueue.testing import InProcessWorker, work
from tests.support.database.costs import costs
from tests.support.django_tasks import elsewhere, tasks
from tests.support.django_tasks.framework import (
    BACKEND,
    InvalidTask,
    TaskResultDoesNotExist,
    default_task_backend,
    task,
)

pytestmark = pytest.mark.django_db(transaction=True)

APP = "tests.support.django_tasks"


@pipeline("tests/enqueues-in-its-body")
def enqueues_in_its_body() -> None:
    tasks.add.enqueue(1)


def test_each_function_is_a_pipeline_with_its_name_docs_and_queue():
    sync_pipelines()

    bare, mail = Pipeline.objects.get(pk=f"{APP}.tasks.bare"), Pipeline.objects.get(pk=f"{APP}.tasks.mail")
    assert bare.description == "Does nothing.\n\nIn two paragraphs."
    assert [step.name for step in bare.known_steps.all()] == ["bare"]
    assert (bare.effective_queue, mail.effective_queue) == ("default", "mail")
    assert bare.fingerprint != mail.fingerprint
    assert set(bare.payload_schema["properties"]) == {"args", "kwargs", "using"}


def test_its_pages_in_the_admin_show_it(admin_client):
    sync_pipelines()
    result = tasks.fail.enqueue("own")
    work()

    page = admin_client.get(f"/admin/taskqueue/pipeline/{APP.replace('_', '_5F')}.tasks.fail/change/").content.decode()
    assert f"{APP}.tasks.fail" in page
    page = admin_client.get(f"/admin/taskqueue/task/{result.id}/change/").content.decode()
    assert "no own" in page
    assert "OutOfStock" in page


def test_the_admin_can_submit_and_rerun_it(admin_client):
    sync_pipelines()
    url = f"/admin/taskqueue/pipeline/{APP.replace('_', '_5F')}.tasks.add/submit/"
    assert "The positional arguments." in admin_client.get(url).content.decode()

    result = tasks.add.enqueue(1)
    again = control.rerun(result.id)
    work()

    assert default_task_backend.get_result(str(again.pk)).return_value == 2


def test_its_end_starts_a_pipeline():
    seen = []

    @pipeline("tests/after-failure", on=f"{APP}.tasks.fail.failed")
    def after_failure(task: str, pipeline: str, payload: Any, labels: Any, error: Any) -> None:
        seen.append((pipeline, error["type"]))

    sync_pipelines()
    tasks.fail.enqueue("own")
    work()

    assert seen == [(f"{APP}.tasks.fail", "OutOfStock")]


def test_it_can_be_submitted_without_django_tasks():
    row = enqueue(f"{APP}.tasks.add", {"args": [1], "kwargs": {"right": 5}})
    work()

    assert default_task_backend.get_result(str(row.pk)).return_value == 6


def test_a_task_costs_one_commit():
    tasks.add.enqueue(0)
    work()
    with InProcessWorker() as worker:
        for number in range(10):
            tasks.add.enqueue(number)
        heartbeat_and_first_claim = 2
        with costs(statements=heartbeat_and_first_claim + 10, commits=heartbeat_and_first_claim + 10):
            worker.work()


def test_enqueue_costs_what_a_pipeline_costs():
    tasks.add.enqueue(1)

    with costs(statements=1, commits=1):
        tasks.add.enqueue(1)


def test_a_result_costs_one_query_before_its_start_and_three_after():
    result = tasks.add.enqueue(1)

    with costs(statements=1):
        result.refresh()
    work()
    with costs(statements=3):
        result.refresh()


def test_an_atomic_task_writes_once():
    sync_pipelines()
    result = tasks.rename_atomically.enqueue("tests/enqueues-in-its-body", "first")

    work()

    result.refresh()
    assert (result.status, result.attempts) == ("SUCCESSFUL", 2)
    assert Pipeline.objects.get(pk="tests/enqueues-in-its-body").description == "first"


def test_limits_and_schedule_are_those_of_a_pipeline():
    sync_pipelines()
    limited = Pipeline.objects.get(pk=f"{APP}.tasks.limited")
    results = [tasks.limited.enqueue(customer=customer) for customer in (1, 1, 2)]

    assert limited.concurrency_limit.declared_tasks == 1
    assert Schedule.objects.get(pipeline=limited).expression == "0 3 * * *"
    assert [Row.objects.get(pk=result.id).concurrency_key for result in results] == ["1", "1", "2"]
    work()
    results[0].refresh()
    assert results[0].return_value == 1


def test_options_of_the_backend_hold_for_all_its_tasks_and_a_task_has_its_own():
    with override_settings(TASKS={"default": {"BACKEND": BACKEND, "QUEUES": [], "OPTIONS": {"retry": Retry.never()}}}):
        own = (
            define("of_backend", raise_error),
            define("of_task", task_options(retry=Retry.fixed(0, retries=1))(raise_again)),
        )
        register_tasks()

        results = [each.enqueue() for each in own]
        work()

        for result in results:
            result.refresh()
        assert [result.attempts for result in results] == [1, 2]


def raise_error():
    raise ValueError


def raise_again():
    raise ValueError


def return_number(number):
    return number


def define(name, function):
    """Make a function of this module a task of this name."""
    function.__name__ = function.__qualname__ = name
    globals()[name] = task(function)
    return globals()[name]


def test_a_duplicate_request_gets_the_result_of_the_first():
    one = define("one_at_a_time", task_options(singleton=Singleton())(return_number))
    register_tasks()

    first, second = one.enqueue(1), one.enqueue(2)

    assert (second.id, second.args) == (first.id, [1])


@pytest.mark.parametrize("wrong", [{"retries": 3}, {"queue": "mail"}, {"batch": None}])
def test_a_wrong_option_is_refused_where_it_is_written(wrong):
    with pytest.raises(DefinitionError, match=f"has an option '{next(iter(wrong))}'"):
        task_options(**wrong)


def test_options_above_the_task_are_refused():
    with pytest.raises(DefinitionError, match="Put it below @task"):
        task_options(timeout=5)(tasks.add)


def test_a_result_is_read_after_the_settings_no_longer_have_its_queue_or_backend():
    result = tasks.add.using(queue_name="gpu").enqueue(1)
    row = Row.objects.get()
    row.payload["using"]["backend"] = "removed"
    row.save(update_fields=["payload"])

    with override_settings(TASKS={"default": {"BACKEND": BACKEND}}):
        read = tasks.add.get_result(result.id)

    assert (read.task.queue_name, read.task.backend, read.status) == ("gpu", "removed", "READY")


def test_a_result_of_an_older_payload_does_not_exist():
    result = tasks.add.enqueue(1)
    Row.objects.update(payload={"values": [1]})

    with pytest.raises(TaskResultDoesNotExist, match="older version"):
        tasks.add.get_result(result.id)


def test_using_another_queue_moves_the_task_there():
    result = tasks.add.using(queue_name="gpu").enqueue(1)
    own = tasks.mail.enqueue("hello")

    with InProcessWorker(queues="default") as worker:
        worker.work()
    result.refresh()
    assert (result.status, result.attempts, result.task.queue_name) == ("READY", 0, "gpu")
    with InProcessWorker(queues="gpu") as worker:
        worker.work()
    result.refresh()
    own.refresh()
    assert (result.return_value, own.status) == (2, "READY")


def test_a_function_that_is_not_imported_at_start_runs_by_its_path():
    result = elsewhere.by_path.enqueue(1)
    row = Row.objects.get(pk=result.id)

    assert row.pipeline_id == "django-tasks/by-path"
    assert row.payload["task"] == f"{APP}.elsewhere.by_path"
    work()
    result.refresh()
    assert (result.return_value, result.task) == ([1, 1], elsewhere.by_path)
    assert [step.name for step in Step.objects.filter(task=row)] == ["by_path"]


def test_each_backend_has_a_pipeline_by_path_with_its_options():
    reports = {"BACKEND": BACKEND, "QUEUES": [], "OPTIONS": {"concurrency": 3, "timeout": 5}}

    with override_settings(TASKS={"default": {"BACKEND": BACKEND, "QUEUES": []}, "reports": reports}):
        result = elsewhere.by_path.using(backend="reports").enqueue(1)
        work()
        result.refresh()

        assert (result.return_value, result.backend) == ([1, 1], "reports")
        row = Row.objects.get(pk=result.id)
        assert row.pipeline_id == "django-tasks/by-path/reports"
        assert row.pipeline.concurrency_limit.declared_tasks == 3
        assert registry.get("django-tasks/by-path").policies.concurrency == ()


def test_by_path_an_async_function_runs_too_and_in_the_queue_of_its_task():
    mail, async_result = elsewhere.by_path.enqueue(1), elsewhere.by_path_async.enqueue(2)

    with InProcessWorker(queues="default") as worker:
        worker.work()

    mail.refresh()
    async_result.refresh()
    assert (mail.status, async_result.return_value) == ("READY", 2)


@pytest.mark.parametrize("using", [{"queue_name": "Mail, urgent"}, {"priority": "5"}])
def test_a_submitted_call_is_checked(using):
    with pytest.raises(InvalidPayload):
        enqueue(f"{APP}.tasks.add", {"args": [1], "using": using})


def test_a_timeout_ends_the_function():
    result = tasks.too_slow.enqueue()

    work()

    result.refresh()
    assert (result.status, result.errors[0].exception_class) == ("FAILED", StepTimedOut)


@pytest.mark.parametrize("path", ["os.system", "tests.support.django_tasks.tasks", "nowhere.at_all"])
def test_by_path_only_tasks_are_called(path):
    enqueue("django-tasks/by-path", {"task": path, "args": ["exit 1"]})

    [outcome] = work()

    assert isinstance(outcome, RetryLater), "a deploy may bring the function"
    assert outcome.failed.error_type in ("ImportError", "ModuleNotFoundError")


def test_a_payload_imports_no_module_outside_of_the_project(monkeypatch):
    monkeypatch.delitem(sys.modules, "antigravity", raising=False)
    enqueue("django-tasks/by-path", {"task": "antigravity.fly"})

    work()

    assert "outside of the packages of INSTALLED_APPS" in Attempt.objects.get().error_message
    assert "antigravity" not in sys.modules


def test_limits_that_would_not_hold_are_refused():
    with pytest.raises(InvalidTask, match="limited_by_path has concurrency and no pipeline of its own"):
        elsewhere.limited_by_path.enqueue()


def test_a_function_that_no_worker_could_import_is_refused():
    with pytest.raises(InvalidTask, match="unnamed is not the task: a worker could not import it"):
        elsewhere.renamed.enqueue()


def test_the_result_of_a_function_that_is_gone_does_not_exist(monkeypatch):
    result = tasks.add.enqueue(1)
    monkeypatch.delattr(tasks, "add")

    with pytest.raises(TaskResultDoesNotExist, match="its function is gone"):
        default_task_backend.get_result(result.id)


def test_a_task_of_an_ordinary_pipeline_is_no_result():
    row = enqueues_in_its_body.enqueue()

    with pytest.raises(TaskResultDoesNotExist):
        default_task_backend.get_result(str(row.pk))


def test_the_body_of_a_pipeline_cannot_enqueue_a_task():
    enqueues_in_its_body.enqueue()
    [outcome] = work()

    assert isinstance(outcome, Failed)
    assert outcome.error_type == InvalidContext.__name__


def test_arguments_that_are_too_large_are_refused():
    with pytest.raises(TooLarge):
        tasks.echo.enqueue("x" * 600_000)


def test_every_registered_task_has_one_step():
    own = [each for each in registry.all() if each.name.startswith(f"{APP}.tasks.")]

    assert len(own) > 10
    assert all(len(each.steps_in_body()) == 1 for each in own)
