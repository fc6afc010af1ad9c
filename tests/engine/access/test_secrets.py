"""Secrets of a task: its steps get them; API, admin and errors do not show them without `view_payload`."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from pydantic import SecretStr

from taskqueue import Permanent, Rate, Retry, RetryAfter, TaskEnded, gather, pipeline, step
from taskqueue.engine.tasks import control
from taskqueue.models import Attempt, RateLimitBucket, Skip, Step, Task
from taskqueue.testing import work
from tests.support.pipelines.secrets import CARD, PASSWORD, Login, logger
from tests.support.registries import own_registry
from tests.support.users import client_with

seen: list[str] = []


FAILURES: dict[str, Callable[[str], Exception]] = {
    "charge": lambda card: Permanent(f"declined: {card}"),
    "busy": lambda card: RetryAfter(timedelta(minutes=1), f"busy with {card}"),
}


def alarm(ended: TaskEnded) -> None:
    """Handle a failure, and fail."""
    seen.append(ended.payload["password"])
    raise Permanent(f"{ended.payload['password']} and {ended.payload['card']} did not work")


@pytest.fixture(autouse=True)
def sign_in(db: None) -> Iterator[Any]:
    """A pipeline that passes its secrets on to steps."""
    seen.clear()
    with own_registry():

        @step
        def check(login: Login) -> Login:
            seen.append(login.password.get_secret_value())
            logger.warning("trying %s", login.password.get_secret_value())
            return login

        @step(retry=Retry.never(), rate=Rate(1000, per=timedelta(seconds=1), name="secrets/bank"))
        def charge(card: str, fail: str) -> str:
            logger.warning("charging %s", card)
            if fail in FAILURES:
                raise FAILURES[fail](card)
            return f"charged {card}"

        @step(retry=Retry.never())
        def keep(password: SecretStr) -> None:
            raise Permanent(f"cannot keep {password.get_secret_value()}")

        @pipeline("secrets/sign-in", retry=Retry.never())
        def sign_in(login: Login) -> dict[str, Any]:
            login = check(login)
            if login.fail == "body":
                raise ValueError(f"{login.password.get_secret_value()} is wrong")
            if login.fail == "parallel":
                gather(keep.defer(login.password))
            return {"user": login.user, "message": charge(login.card, login.fail)}

        sign_in.on_failure(alarm)
        yield sign_in


def run(sign_in: Any, fail: str = "") -> Task:
    task = sign_in.enqueue(Login(user="dana", password=SecretStr(PASSWORD), fail=fail))
    work()
    return Task.objects.get(pk=task.pk)


def urls_of(task: Task) -> list[str]:
    """The URLs that show a task."""
    own = [f"/api/tasks/{task.pk}{end}" for end in ("", "/status", "/why")]
    page = f"/admin/taskqueue/task/{task.pk}"
    steps = [f"{what}-{step.pk}" for step in Step.objects.filter(task=task) for what in ("input", "output", "logs")]
    files = [f"{page}/download/{name}/" for name in ("payload", "result", *steps)]
    lists = ["/api/tasks", "/admin/taskqueue/task/", "/admin/"]
    return [*own, f"{page}/change/", *files, *lists]


def test_a_step_gets_the_secret_and_the_row_stores_it(sign_in):
    task = run(sign_in)

    assert task.status == "succeeded"
    assert seen == [PASSWORD]
    assert task.payload["password"] == PASSWORD


@pytest.mark.parametrize("fail", ["", "charge", "body", "parallel", "busy"])
def test_a_viewer_without_view_payload_sees_no_secret_anywhere(sign_in, fail):
    task = run(sign_in, fail)
    viewer = client_with("view_task")

    for url in urls_of(task):
        page = viewer.get(url).content.decode()
        assert PASSWORD not in page, url
        assert CARD not in page, url


def test_a_completion_handlers_task_shows_no_secrets_either(sign_in):
    run(sign_in, "charge")
    work()
    handling = Task.objects.get(pipeline="secrets/sign-in.on-failure")
    assert (seen[-1], handling.payload["payload"]["password"]) == (PASSWORD, PASSWORD)

    written = json.dumps([handling.error, *Attempt.objects.values_list("error_message", "traceback")])
    assert "********** and ********** did not work" in written
    assert PASSWORD not in written
    assert CARD not in written

    viewer = client_with("view_task", "add_task", "view_pipeline")
    for url in urls_of(handling):
        page = viewer.get(url).content.decode()
        assert PASSWORD not in page, url
        assert CARD not in page, url
    shown = viewer.get(f"/api/tasks/{handling.pk}").json()["payload"]
    assert shown["payload"] == {"user": "dana", "password": "**********", "card": "**********", "fail": "charge"}
    assert shown["error"]["message"] == "declined: **********"
    assert viewer.get("/admin/taskqueue/pipeline/secrets/sign-in.on-failure/submit/").status_code == 200


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_an_export_without_view_payload_has_no_secrets(sign_in, form):
    run(sign_in, "charge")
    response: Any = client_with("view_task").get(f"/admin/taskqueue/task/export/{form}/")
    text = b"".join(response.streaming_content).decode()

    assert "Permanent" in text
    assert PASSWORD not in text
    assert CARD not in text


def test_log_lines_are_stored_without_secrets(sign_in):
    task = run(sign_in, "charge")
    written = json.dumps([*Step.objects.values_list("logs"), *Attempt.objects.values_list("logs")])

    assert "trying **********" in written
    assert "charging **********" in written
    assert PASSWORD not in written
    assert CARD not in written
    assert (
        "trying **********" in client_with("view_task").get(f"/admin/taskqueue/task/{task.pk}/change/").content.decode()
    )


def test_a_partly_redacted_payload_cannot_be_edited(sign_in):
    task = run(sign_in)
    editor, reader = client_with("view_task", "add_task"), client_with("view_task", "add_task", "view_task_payload")
    address = f"/admin/taskqueue/task/{task.pk}/edit/"

    assert editor.get(address).status_code == 403
    assert reader.get(address).status_code == 200


def test_a_value_too_long_for_the_page_shows_no_secret(sign_in):
    long = "x" * 70_000
    task = sign_in.enqueue(Login(user=long, password=SecretStr(PASSWORD)))
    work()
    viewer = client_with("view_task")

    for url in urls_of(task):
        page = viewer.get(url).content.decode()
        assert PASSWORD not in page, url
        assert CARD not in page, url
    shown = viewer.get(f"/admin/taskqueue/task/{task.pk}/download/payload/").json()
    assert shown == {"user": long, "password": "**********", "card": "**********", "fail": ""}


def test_values_without_secrets_are_shown(sign_in):
    task = client_with("view_task").get(f"/api/tasks/{run(sign_in).pk}").json()

    assert task["payload"] == {"user": "dana", "password": "**********", "card": "**********", "fail": ""}
    assert task["result"] == {"user": "dana", "message": "charged **********"}
    by_key = {step["key"]: step for step in task["steps"]}
    assert by_key["check"]["input"]["login"]["password"] == by_key["check"]["output"]["card"] == "**********"
    assert by_key["charge"]["input"] == {"card": "**********", "fail": ""}


def test_view_payload_shows_payloads_with_their_secrets(sign_in):
    task = run(sign_in)
    reader = client_with("view_task", "view_task_payload")

    assert reader.get(f"/api/tasks/{task.pk}").json()["payload"]["password"] == PASSWORD
    assert PASSWORD in reader.get(f"/admin/taskqueue/task/{task.pk}/change/").content.decode()


@pytest.mark.parametrize("fail", ["charge", "body", "parallel"])
def test_errors_are_stored_without_secrets(sign_in, fail, caplog):
    caplog.set_level("DEBUG")
    task = run(sign_in, fail)

    assert task.status == "failed"
    written = json.dumps([task.error, *Attempt.objects.values_list("error_message", "traceback")])
    # The step's arguments do not mark this text as secret; the task's payload does.
    written += " ".join(record.getMessage() for record in caplog.records if record.name != logger.name)
    assert PASSWORD not in written
    assert CARD not in written
    assert "**********" in written


@pytest.mark.parametrize("strict", [False, True])
def test_drift_is_stored_without_secrets(strict):
    password = ["first-password"]

    @step
    def use(password: SecretStr) -> None: ...

    @step(retry=Retry.never())
    def fail() -> None:
        if password[0].startswith("first"):
            raise Permanent("later")

    @pipeline("secrets/drifting", strict=strict)
    def drifting(number: int) -> None:
        use(SecretStr(password[0]))
        fail()

    task = drifting.enqueue(1)
    work()
    password[0] = "second-password"
    control.retry(task.pk)
    work()

    row = Task.objects.get(pk=task.pk)
    written = json.dumps([row.error, row.drift])
    assert row.drift is not None
    assert row.drift[0]["kind"] == "arguments" if not strict else row.status == "failed"
    assert "-password" not in written


def test_the_reason_of_a_blocked_rate_is_stored_without_secrets(sign_in):
    run(sign_in, "busy")

    assert RateLimitBucket.objects.get(block_reason__gt="").block_reason == "charge: busy with **********"


def test_an_invalid_payload_is_refused_without_showing_its_secrets(sign_in, settings):
    settings.DEBUG = True
    body = {"pipeline": "secrets/sign-in", "payload": {"user": 1, "password": PASSWORD}}

    response = Client(SERVER_NAME="localhost").post("/api/tasks", body, content_type="application/json")

    assert response.status_code == 422
    assert PASSWORD not in response.content.decode()
    assert not Skip.objects.exists()


def test_values_of_a_removed_pipeline_are_masked_by_its_stored_schema(sign_in):
    task = run(sign_in)
    viewer = client_with("view_task")

    with own_registry(empty=True):
        shown = viewer.get(f"/api/tasks/{task.pk}").json()

    assert shown["payload"]["password"] == "**********"
    assert PASSWORD not in json.dumps(shown)
    assert CARD not in json.dumps(shown)
