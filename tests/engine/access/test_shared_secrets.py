"""Secrets that a task passes on to parallel steps, children, and steps whose code was removed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.auth.models import User
from django.db import DataError, connection
from pydantic import SecretStr

from taskqueue import Permanent, Retry, RetryAfter, gather, pipeline, step, wait_for
from taskqueue.definitions import registry
from taskqueue.engine.access.actor import Actor
from taskqueue.engine.catalog.sync import sync_pipelines
from taskqueue.engine.tasks import control
from taskqueue.models import Attempt, Event, Step, Task
from taskqueue.testing import work
from tests.support.pipelines.secrets import CARD, PASSWORD, Login, logger
from tests.support.registries import own_registry
from tests.support.users import client_with


@pytest.fixture(autouse=True)
def _own_registry(db: None) -> Iterator[None]:
    with own_registry():
        yield


@step(name="bill", retry=Retry.never())
def bill(card: str, fail: str) -> str:
    logger.warning("billing %s", card)
    if fail:
        raise RetryAfter(timedelta(minutes=1), f"declined: {card}")
    return "billed"


@step(name="bill-later", retry=Retry.never())
async def bill_later(card: str, fail: str) -> str:
    return bill.definition.function(card, fail)


@step.atomic(name="bill-at-once", retry=Retry.never())
def bill_at_once(card: str, fail: str) -> str:
    return bill.definition.function(card, fail)


@pytest.mark.parametrize("chosen", [bill, bill_later, bill_at_once])
@pytest.mark.parametrize("fail", ["", "yes"])
def test_a_parallel_step_is_stored_without_its_parents_secrets(chosen, fail):
    registry.add_step(chosen.definition)

    @pipeline("secrets/parallel")
    def with_parallel_step(login: Login) -> Any:
        return gather(chosen.defer(login.card, fail))

    task = with_parallel_step.enqueue(Login(user="dana", password=SecretStr(PASSWORD)))
    work()

    task.refresh_from_db()
    assert task.status == ("failed" if fail else "succeeded")
    attempts = Attempt.objects.values_list("error_message", "traceback", "logs")
    written = json.dumps([task.error, *attempts, *Step.objects.values_list("error", "logs")])
    assert "billing **********" in written
    assert ("declined: **********" in written) == bool(fail)
    assert CARD not in written


@pytest.mark.django_db(transaction=True)
def test_a_parallel_step_with_a_broken_transaction_is_stored_without_secrets():
    @step(retry=Retry.never())
    def spoil(card: str) -> None:
        with connection.cursor() as cursor, suppress(DataError):
            cursor.execute("BEGIN")
            cursor.execute("SELECT 1 / 0")
        raise Permanent(f"spoilt by {card}")

    @pipeline("secrets/spoilt")
    def spoilt(login: Login) -> Any:
        return gather(spoil.defer(login.card))

    task = spoilt.enqueue(Login(user="dana", password=SecretStr(PASSWORD)))
    work()

    task.refresh_from_db()
    assert (task.status, task.error and task.error["message"]) == ("failed", "spoilt by **********")
    assert Attempt.objects.get().error_message == "spoilt by **********"


def test_a_childs_completion_is_stored_without_its_parents_secrets():
    @pipeline("secrets/child", retry=Retry.never())
    def child(card: str) -> None:
        raise ValueError(f"no such card: {card}")

    @pipeline("secrets/parent")
    def parent(login: Login) -> None:
        child(login.card)

    task = parent.enqueue(Login(user="dana", password=SecretStr(PASSWORD)))
    work()
    work()

    task.refresh_from_db()
    assert "no such card: **********" in task.error["message"]


def test_all_values_of_removed_steps_are_masked_without_view_payload():
    @step
    def rename(order: str) -> str:
        return f"order {order}"

    @step
    def send(order: str) -> str:
        return f"sent {order}"

    @pipeline("secrets/removed")
    def removed(order: str) -> str:
        gather(rename.defer(order))
        return send(rename(order))

    task = removed.enqueue("A-1234567")
    work()
    del registry._steps[rename.definition.path]
    viewer, reader = client_with("view_task"), client_with("view_task", "view_task_payload")
    page, url = f"/admin/taskqueue/task/{task.pk}/change/", f"/api/tasks/{task.pk}"

    by_key = {each["key"]: each for each in viewer.get(url).json()["steps"]}
    assert by_key["rename"]["input"] == by_key["rename"]["output"] == "**********"
    assert by_key["rename#2"]["input"] == by_key["rename#2"]["output"] == "**********"
    assert by_key["send"]["input"] == {"order": "order A-1234567"}
    assert viewer.get(url).json()["payload"] == {"order": "A-1234567"}
    assert viewer.get(page).status_code == 200

    by_key = {each["key"]: each for each in reader.get(url).json()["steps"]}
    assert by_key["rename"]["input"] == {"order": "A-1234567"}
    assert "order A-1234567" in reader.get(page).content.decode()


def test_children_of_removed_pipelines_are_masked_by_their_stored_schema():
    @pipeline("secrets/inner")
    def inner(login: Login) -> str:
        return login.user

    @pipeline("secrets/outer")
    def outer(user: str) -> str:
        return inner(Login(user=user, password=SecretStr(PASSWORD)))

    sync_pipelines()
    task = outer.enqueue("dana")
    work()
    work()
    del registry._pipelines["secrets/inner"]

    (shown,) = client_with("view_task").get(f"/api/tasks/{task.pk}").json()["steps"]

    assert shown["input"] == {"user": "dana", "password": "**********", "card": "**********", "fail": ""}
    assert shown["output"] == "dana"


def test_the_page_of_a_parallel_step_is_its_parents_page():
    viewer = client_with("view_task")
    answers: list[Any] = []

    @step
    def show(word: SecretStr) -> None:
        parallel_task = Task.objects.get(parallel_step__gt="", status="running")
        answers.append(viewer.get(f"/admin/taskqueue/task/{parallel_task.pk}/change/"))

    @pipeline("secrets/telling")
    def telling(login: Login) -> None:
        gather(show.defer(login.password))

    task = telling.enqueue(Login(user="dana", password=SecretStr(PASSWORD)))
    work()

    (answer,) = answers
    assert PASSWORD not in answer.content.decode()
    assert (answer.status_code, answer["Location"]) == (302, f"/admin/taskqueue/task/{task.pk}/change/")
    assert viewer.get(answer["Location"]).status_code == 200


def test_drift_of_children_and_removed_steps_shows_no_secret():
    password = ["first-password"]

    @step
    def forgotten(word: SecretStr) -> None: ...

    @step(retry=Retry.never())
    def fail() -> None:
        if password[0].startswith("first"):
            raise Permanent("later")

    @pipeline("secrets/inner")
    def inner(password: SecretStr) -> None: ...

    @pipeline("secrets/outer")
    def outer() -> None:
        inner(SecretStr(password[0]))
        if password[0].startswith("first"):
            forgotten(SecretStr("a-gone-password"))
        fail()

    task = outer.enqueue()
    work()
    work()
    password[0] = "second-password"
    control.retry(task.pk)
    work()
    del registry._steps[forgotten.definition.path]
    task.refresh_from_db()
    assert [(note["key"], note["kind"]) for note in task.drift or []] == [
        ("secrets/inner", "arguments"),
        ("forgotten", "unused"),
    ]

    assert "first-password" not in json.dumps(task.drift)
    assert "second-password" not in json.dumps(task.drift)
    viewer, reader = client_with("view_task"), client_with("view_task", "view_task_payload")
    for url in (f"/api/tasks/{task.pk}", f"/admin/taskqueue/task/{task.pk}/change/"):
        assert "-password" not in viewer.get(url).content.decode()
        assert "a-gone-password" in reader.get(url).content.decode()


def bank(word: str, *, announce: bool = True) -> Any:
    """A pipeline that emits completion events, and repeats a secret in its result."""

    @pipeline("secrets/bank", announce=announce, retry=Retry.never())
    def deposit(login: Login) -> dict[str, str]:
        if login.fail:
            raise Permanent(f"declined: {login.card}")
        return {"user": login.user, "message": f"{word} {login.card}"}

    return deposit


@pytest.mark.parametrize("fail", ["", "yes"])
def test_a_completion_event_is_stored_without_secrets(fail):
    @pipeline("secrets/listens", on=["secrets/bank.completed", "secrets/bank.failed"])
    def listens(task: str, pipeline: str, payload: Any, labels: Any, result: Any = None, error: Any = None) -> Any:
        return [payload, result, error]

    @pipeline("secrets/waits")
    def waits() -> Any:
        return wait_for("secrets/bank.failed" if fail else "secrets/bank.completed", timeout=timedelta(hours=1))

    sync_pipelines()
    waiting = waits.enqueue()
    work()
    bank("took").enqueue(Login(user="dana", password=SecretStr(PASSWORD), fail=fail))
    work()
    work()

    event = Event.objects.get()
    assert event.data["payload"] == {"user": "dana", "password": "**********", "card": "**********", "fail": fail}
    waiting.refresh_from_db()
    listener = Task.objects.get(pipeline="secrets/listens")
    assert waiting.status == listener.status == "succeeded"
    for written in map(json.dumps, (event.data, waiting.result, listener.payload, listener.result)):
        assert ("declined: **********" if fail else "took **********") in written
        assert PASSWORD not in written
        assert CARD not in written


def test_an_older_completion_event_shows_no_secret():
    bank("took", announce=False)
    sync_pipelines()
    payload = {"user": "dana", "password": PASSWORD, "card": CARD, "fail": ""}
    data = {"task": str(uuid4()), "pipeline": "secrets/bank", "payload": payload, "labels": {}}
    event = Event.objects.create(name="secrets/bank.completed", data={**data, "result": {"message": f"took {CARD}"}})
    viewer, reader = client_with("view_event"), client_with("view_event", "view_task_payload")

    for url in ("/api/events", f"/api/events/{event.pk}", f"/admin/taskqueue/event/{event.pk}/change/"):
        assert "took **********" in viewer.get(url).content.decode(), url
        assert PASSWORD not in viewer.get(url).content.decode(), url
        assert CARD not in viewer.get(url).content.decode(), url
        assert PASSWORD in reader.get(url).content.decode(), url
    unrelated = Event.objects.create(name="secrets/else.completed", data=data)
    assert viewer.get(f"/api/events/{unrelated.pk}").json()["data"] == data


def test_blockers_and_activity_on_the_page_show_no_secret():
    @step
    def look_up(user: str) -> Login:
        return Login(user=user, password=SecretStr(PASSWORD))

    @step(name="pay", retry=Retry.fixed(timedelta(minutes=1), retries=1))
    def pay(card: str) -> None:
        raise ConnectionError(f"no answer for {card}")

    @pipeline("secrets/looks-up")
    def looks_up(user: str) -> None:
        pay(look_up(user).card)

    task = looks_up.enqueue("dana")
    work()
    page = f"/admin/taskqueue/task/{task.pk}/change/"
    viewer = client_with("view_task")
    waiting = viewer.get(page).content.decode()
    actor = User.objects.create_superuser("sam")
    control.cancel(task.pk, reason=f"{CARD} is blocked", actor=Actor(actor.pk))
    cancelled = viewer.get(page).content.decode()

    assert "Last error: ConnectionError: no answer for **********" in waiting
    assert CARD not in waiting
    assert "Reason: ********** is blocked" in cancelled
    assert CARD not in cancelled
