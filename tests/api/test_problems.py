"""Every refusal is a problem, and every error has a status."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from django.core.exceptions import RequestDataTooBig, SuspiciousOperation
from django.db import OperationalError, connection
from django.http import HttpResponse
from django.urls import include
from django.urls import path as route

from taskqueue import errors
from taskqueue.api.problems import CODES, STATUSES, Kind
from taskqueue.ids import uuid7
from tests.support.api import problem_of

NEVER_ANSWERED = {
    errors.TaskqueueError,
    errors.InvalidValue,
    errors.DefinitionError,
    errors.BatchRefused,  # answered as its first refusal
    errors.InvalidContext,
    errors.Drift,  # never raised: the type of a task's error
    errors.InvalidEventData,
    errors.GatherFailed,
    errors.NestingTooDeep,
    errors.TooManyParallelSteps,
    errors.OutputChanged,
    errors.StepFailed,
    errors.StepTimedOut,
    errors.InvalidResult,
    errors.TransactionBroken,
}


def all_errors(root: type[errors.TaskqueueError] = errors.TaskqueueError) -> Iterator[type[errors.TaskqueueError]]:
    yield root
    for kind in root.__subclasses__():
        yield from all_errors(kind)


def test_every_error_has_a_status_or_never_meets_a_caller():
    defined = {kind for kind in all_errors() if kind.__module__.startswith("taskqueue.")}

    assert set(STATUSES) == defined - NEVER_ANSWERED


@pytest.mark.parametrize("kind", list(STATUSES), ids=lambda kind: kind.__name__)
def test_every_error_has_a_code_and_a_title_of_its_own(kind):
    assert kind.code not in {errors.TaskqueueError.code, errors.InvalidValue.code}
    assert kind.title() != errors.TaskqueueError.title()
    assert 400 <= STATUSES[kind] < 600


def test_every_kind_of_refusal_has_a_title_of_its_own():
    assert len({kind.title for kind in Kind}) == len(Kind)
    assert all(400 <= kind.status < 600 for kind in Kind)


@pytest.mark.parametrize("method", ["get", "post", "put", "delete", "options", "head"])
@pytest.mark.parametrize("path", ["/api/", "/api/nothing", "/api/tasks/", "/api/tasks/17", "/api/health/dead"])
def test_where_nothing_is_every_method_is_told_so(api, path, method):
    response = getattr(api.client, method)(path)

    assert (response.status_code, response["Content-Type"]) == (404, "application/problem+json")
    if method != "head":
        assert problem_of(response) == (404, "not-found", [])


@pytest.mark.parametrize(
    ("method", "suffix"),
    [
        *[("get", suffix) for suffix in ("", "/why", "/status", "/status?wait=30")],
        *[("post", suffix) for suffix in ("/retry", "/run-now", "/cancel", "/rerun")],
    ],
)
def test_a_task_that_does_not_exist_is_not_found(api, method, suffix):
    assert problem_of(getattr(api, method)(f"/api/tasks/{uuid7()}{suffix}")) == (404, "task-not-found", [])


@pytest.mark.parametrize(
    ("path", "meant"),
    [
        ("/api/tasks/", "/api/tasks"),
        ("/api/tasks//", "/api/tasks"),
        ("/api/tasks/0192d5a0-0000-7000-8000-000000000000/why/", "/api/tasks/0192d5a0-0000-7000-8000-000000000000/why"),
        ("/api/pipelines/", "/api/pipelines"),
        ("/api/pipelines/shop/order/", "/api/pipelines/shop/order"),
        ("/api/pipelines/shop/order/pause/", "/api/pipelines/shop/order/pause"),
        ("/api/health/live/", "/api/health/live"),
    ],
)
def test_a_path_with_a_slash_too_many_is_told_the_one_without(api, path, meant):
    for response in (api.get(path), api.post(path, {})):
        assert problem_of(response) == (404, "not-found", [])
        assert f"There is nothing at {path}. Did you mean {meant}? " in response.json()["detail"]


def test_a_path_that_lacks_its_slash_is_told_the_one_with_it(api, settings):
    addresses = ModuleType("addresses_with_a_slash")
    addresses.urlpatterns = [  # type: ignore[attr-defined]
        route("api/shop/", lambda _request: HttpResponse()),
        route("api/", include("taskqueue.urls")),
    ]
    settings.ROOT_URLCONF = addresses

    assert "Did you mean /api/shop/? " in api.get("/api/shop").json()["detail"]


def test_below_a_prefix_the_path_is_told_with_it(api):
    response = api.client.get("/api/tasks/", SCRIPT_NAME="/queue")

    assert "There is nothing at /queue/api/tasks/. Did you mean /queue/api/tasks? " in response.json()["detail"]


def test_no_other_path_is_guessed(api):
    assert "Did you mean" not in api.get("/api/nothing/").json()["detail"]


@pytest.mark.parametrize("method", ["put", "patch", "delete", "options", "trace"])
@pytest.mark.parametrize("path", ["/api/tasks", "/api/pipelines", "/api/health/live"])
def test_a_method_that_an_address_does_not_know_is_refused(api, path, method):
    response = getattr(api.client, method)(path)

    assert problem_of(response) == (405, "method-not-allowed", [])
    assert "GET" in response["Allow"]


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (OperationalError("no connection"), (503, "database-unavailable", [])),
        (RequestDataTooBig("too big"), (413, "too-large", [])),
        (SuspiciousOperation("odd"), (400, "malformed-request", [])),
    ],
)
def test_errors_of_django_become_problems_without_their_details(api, error, expected):
    with connection.execute_wrapper(raising(error)):
        response = api.get("/api/tasks/0192d5a0-0000-7000-8000-000000000000")

    assert problem_of(response) == expected
    assert str(error) not in response.json()["detail"]
    assert response.headers.get("Retry-After") == ("2" if response.status_code == 503 else None)


def test_an_error_of_our_own_is_a_problem_in_debug_too(api, caplog):
    api.client.raise_request_exception = False

    with connection.execute_wrapper(raising(ZeroDivisionError("secret"), table="taskqueue_task")):
        response = api.get("/api/tasks/0192d5a0-0000-7000-8000-000000000000")

    assert problem_of(response) == (500, "internal-error", [])
    assert "ZeroDivisionError: secret" in caplog.text


def test_an_error_of_our_own_is_recorded_and_its_details_are_kept(admin_client, caplog):
    admin_client.raise_request_exception = False

    with connection.execute_wrapper(raising(ZeroDivisionError("secret"), table="taskqueue_task")):
        response = admin_client.get("/api/tasks/0192d5a0-0000-7000-8000-000000000000")

    assert problem_of(response) == (500, "internal-error", [])
    assert "secret" not in response.content.decode()
    assert "ZeroDivisionError: secret" in caplog.text


def raising(error: Exception, *, table: str = ""):
    """Make each statement that names this table fail with an error."""

    def execute(run, sql, *arguments):
        if table in sql:
            raise error
        return run(sql, *arguments)

    return execute


def test_every_code_that_a_caller_may_meet_is_explained_in_the_docs():
    page = (Path(__file__).parents[2] / "docs" / "errors.md").read_text()

    assert [code for code in CODES if f"`{code}`" not in page] == []
