"""`manage.py pipelines`: whether the current code can continue the unfinished tasks."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.core.management import CommandError, call_command
from django.db import Error, connection
from django.forms.models import model_to_dict

from taskqueue import Limit, Rate, Retry, StepFailed, current_task, pipeline, sleep, step
from taskqueue.definitions import registry
from taskqueue.engine.actions import deploy_check
from taskqueue.management.commands import pipelines as command
from taskqueue.models import Attempt, Step, Task
from taskqueue.testing import work
from tests.support.endings import reload

pytestmark = pytest.mark.django_db

NAME = "live/shop"
SOON = Retry.fixed(timedelta(seconds=1), retries=1)


@step
def charge(amount: int) -> str:
    return f"charged {amount}"


@step
def ship(parcel: str) -> str:
    raise AssertionError("a replay executes no step")


def old(amount: int) -> str:
    receipt = charge(amount)
    sleep("pause", timedelta(minutes=1))
    return receipt


def deploy(body: Any, **options: Any) -> Any:
    registry._pipelines.pop(NAME, None)
    return pipeline(NAME, **options)(body)


@pytest.fixture
def waiting() -> Task:
    """A task that has charged and waits."""
    task: Task = deploy(old).enqueue(3)
    work()
    return task


def answer(*options: str) -> tuple[int, str]:
    """The command's exit code and output."""
    out = StringIO()
    try:
        call_command("pipelines", *options, stdout=out, stderr=StringIO())
    except SystemExit as leaving:
        return int(leaving.code or 0), out.getvalue()
    return 0, out.getvalue()


def findings() -> list[tuple[bool, str, str]]:
    """Whether the task breaks, and the findings with their keys."""
    code, text = answer("--check-live", "--json", "--pipeline", NAME)
    body = json.loads(text)
    assert code == (1 if body["breaks"] else 0)
    assert body["examined"] == 1
    return [(each["breaks"], each["kind"], each["key"]) for each in body["findings"]]


def everything() -> list[dict[str, Any]]:
    """All rows of tasks, steps and attempts."""
    return [model_to_dict(row) for model in (Task, Step, Attempt) for row in model._default_manager.order_by("pk")]


def test_code_that_fits_breaks_nothing(waiting):
    assert findings() == []
    assert answer("--check-live") == (0, "Tasks replayed: 1; would break: 0; with warnings: 0.\n")


def test_nothing_is_executed_and_nothing_written(waiting):
    def body(amount: int) -> str:
        current_task().progress(0.5, "half")
        parcel = ship(charge(amount))
        sleep("another", timedelta(minutes=1))
        return parcel

    deploy(body)
    before = everything()

    assert findings() == [(False, "unreached", "pause")]

    assert everything() == before


def test_a_pause_that_is_not_over_ends_the_replay(waiting):
    def body(amount: int) -> str:
        charge(amount)
        sleep("pause", timedelta(minutes=1))
        raise AssertionError("never reached")

    deploy(body)

    assert findings() == []


def test_a_pipeline_that_is_gone_breaks_its_tasks(waiting):
    registry._pipelines.pop(NAME)

    assert findings() == [(True, "pipeline", "")]


def test_a_payload_that_no_longer_fits_breaks(waiting):
    def body(amount: int, currency: str) -> str:
        return f"{charge(amount)} {currency}"

    deploy(body)

    assert findings() == [(True, "payload", "")]


def test_a_recorded_output_that_no_longer_fits_breaks(waiting):
    @step(name="charge")
    def count(amount: int) -> int:
        return amount

    def body(amount: int) -> int:
        return count(amount)

    deploy(body)

    assert findings() == [(True, "output", "")]


def test_a_body_that_raises_before_it_comes_to_new_work_breaks(waiting):
    def body(amount: int) -> str:
        charge(amount)
        raise LookupError("no such shop")

    deploy(body)

    assert findings() == [(True, "body", "")]
    assert "LookupError: no such shop" in answer("--check-live")[1]


def test_a_body_that_no_longer_catches_a_failed_step_breaks():
    @step(name="fail", retry=Retry.never())
    def fail() -> None:
        raise ValueError

    def catching() -> None:
        try:
            fail()
        except StepFailed:
            sleep("pause", timedelta(minutes=1))

    deploy(catching).enqueue()
    work()
    assert findings() == []

    deploy(lambda: fail())
    assert findings() == [(True, "body", "")]


@pytest.mark.parametrize("strict", [False, True])
def test_other_arguments_break_a_strict_pipeline_and_are_a_warning_else(waiting, strict):
    def body(amount: int) -> str:
        return ship(charge(amount + 1))

    deploy(body, strict=strict)

    assert (strict, "arguments", "charge") in findings()


@pytest.mark.parametrize("strict", [False, True])
def test_a_body_that_ends_without_asking_breaks_a_strict_pipeline_and_is_a_warning_else(waiting, strict):
    def body(amount: int) -> str:
        sleep("pause", timedelta(minutes=1))
        return "done"

    Step.objects.filter(task=waiting, key="pause").update(status="succeeded", output=None)
    deploy(body, strict=strict)

    assert findings() == [(strict, "unused", "charge")]


def test_a_lost_version_is_a_warning():
    deploy(old, version="1").enqueue(3)
    deploy(old, version="2")

    assert findings() == [(False, "version", "")]

    deploy(old, version="2").version("1")(old)
    assert findings() == []


def test_an_async_body_is_replayed_too():
    @step(name="ask")
    async def ask(question: str) -> str:
        return question

    async def body() -> list[str]:
        answers = list(await asyncio.gather(ask("a"), ask("b")))
        sleep("pause", timedelta(minutes=1))
        return answers

    async def changed() -> list[str]:
        return list(await asyncio.gather(ask("a"), ask("c"), ship.aio("x")))

    deploy(body).enqueue()
    work()
    assert findings() == []

    deploy(changed, strict=True)
    assert findings() == [(True, "arguments", "ask#2")]


def test_a_step_that_will_be_retried_is_new_work(waiting):
    @step(name="unsteady", retry=SOON)
    def unsteady() -> None:
        raise ConnectionError

    deploy(lambda: unsteady()).enqueue()
    Task.objects.filter(pk=waiting.pk).delete()
    work()
    assert Task.objects.get().status == "retrying"

    assert findings() == []
    assert Attempt.objects.count() == 1


def test_a_body_that_writes_is_reported(waiting):
    def body(amount: int) -> str:
        Group.objects.create(name="written by a body")
        return charge(amount)

    deploy(body)

    assert findings() == [(True, "body", "")]
    assert "read-only transaction" in answer("--check-live")[1]
    assert not Group.objects.exists()


def test_a_body_that_leaves_a_database_error_behind_does_not_disturb_the_others():
    def body(number: int) -> str:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1 / %s", [number])
        return charge(number)

    shop = deploy(body)
    for number in (0, 1, 0):
        shop.enqueue(number)

    code, text = answer("--check-live", "--json")
    assert (code, json.loads(text)["examined"], json.loads(text)["breaks"]) == (1, 3, 2)


def test_ended_tasks_are_not_looked_at(waiting):
    Task.objects.filter(pk=waiting.pk).delete()
    deploy(lambda: charge(1)).enqueue()
    work()

    assert json.loads(answer("--check-live", "--json")[1])["examined"] == 0


def test_many_tasks_are_read_in_batches_and_reported_in_one_group(waiting, monkeypatch):
    monkeypatch.setattr(deploy_check, "BATCH", 2)
    for number in range(120):
        deploy(old).enqueue(number)

    def body(amount: int, currency: str) -> str:
        return f"{charge(amount)} {currency}"

    deploy(body)
    out, err = StringIO(), StringIO()

    with pytest.raises(SystemExit):
        call_command("pipelines", "--check-live", stdout=out, stderr=err)

    assert "BREAKS: live/shop: payload: 121 tasks" in out.getvalue()
    assert "and 116 more" in out.getvalue()
    assert "118 of 121 tasks" in err.getvalue()


def test_a_limit_takes_the_oldest(waiting):
    for number in range(3):
        deploy(old).enqueue(number)

    code, text = answer("--check-live", "--json", "--limit", "2")

    assert (code, json.loads(text)["examined"]) == (0, 2)


def test_the_list_shows_what_the_code_defines(waiting):
    shop = deploy(
        old, version="2", strict=True, concurrency=[3, Limit(1, key="{tenant}")],
        throttle=Rate(10, per=timedelta(minutes=1), key="{tenant}"),
    )  # fmt: skip
    shop.version("1")(old)

    _code, text = answer("--pipeline", NAME)
    head, row = text.splitlines()

    assert head.split() == ["PIPELINE", "QUEUE", "VERSION", "FINGERPRINT", "UNFINISHED", "STEPS", "POLICIES"]
    assert row.split()[:4] == [NAME, "default", "2", "(+1)"]
    assert row.split(maxsplit=5)[5].startswith("1 ")
    assert "concurrency=3+1/{tenant}, throttle=10/60s/1/{tenant}, strict" in row
    (known,) = json.loads(answer("--pipeline", NAME, "--json")[1])
    assert (known["name"], known["steps"], known["unfinished"], known["keeps"]) == (NAME, ["charge"], 1, ["1"])


def test_every_pipeline_is_listed():
    names = [row["name"] for row in json.loads(answer("--json")[1])]

    assert names == registry.names()


@pytest.mark.parametrize(
    "options", [["--pipeline", "no/such"], ["--limit", "3"], ["--check-live", "--limit", "0"], ["--nonsense"]]
)
def test_wrong_usage_is_exit_code_two(options, capsys):
    with pytest.raises((CommandError, SystemExit)) as refused:
        command.Command().run_from_argv(["manage.py", "pipelines", *options])

    assert getattr(refused.value, "returncode", getattr(refused.value, "code", None)) == 2


def test_a_database_error_is_exit_code_two(monkeypatch):
    def break_down(**_options: object) -> None:
        raise Error("it is gone")

    monkeypatch.setattr(command, "replay_live", break_down)

    with pytest.raises(CommandError, match="it is gone") as trouble:
        call_command("pipelines", "--check-live")
    assert trouble.value.returncode == 2


def test_the_transaction_is_read_only_and_is_left_behind(waiting):
    with deploy_check.read_only(), pytest.raises(Error, match="read-only"), connection.cursor() as cursor:
        cursor.execute("UPDATE taskqueue_task SET priority = 1")

    Group.objects.create(name="after")
    assert reload(waiting).priority == 0


def test_the_list_shows_the_queues_of_steps():
    @step(queue="render")
    def draw() -> None: ...

    @pipeline("live/drawing")
    def drawing() -> None:
        draw()

    assert "draw (queue render)" in answer("--pipeline", "live/drawing")[1]
    (row,) = json.loads(answer("--json", "--pipeline", "live/drawing")[1])
    assert (row["steps"], row["step_queues"]) == (["draw"], {"draw": "render"})
