"""Every number of the overview is that of the list behind its link, whatever has become of the tasks."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime, timedelta
from html import unescape
from typing import Any

import pytest
from django.core.cache import cache
from django.db.models import F

from demo.pipelines import DemoRequest, demo_task
from taskqueue import Permanent, pipeline, step
from taskqueue.admin import navigation
from taskqueue.engine.maintenance.rollups import roll_further
from taskqueue.engine.queries import stats
from taskqueue.engine.sql import rollups as rolling
from taskqueue.engine.tasks import control
from taskqueue.models import Task
from taskqueue.testing import InProcessWorker, advance, work
from tests.support.admin_pages import LIST, text_of
from tests.support.pipelines import shop
from tests.support.users import client_of

HOME = "/admin/"
out_of_order: set[str] = set()
"""What fails for good; tests repair it."""


@step
def fetch_rates(about: str) -> str:
    if about in out_of_order:
        raise Permanent(f"{about} is out of order")
    return about


@step
def store_rates(about: str) -> str:
    if about in out_of_order:
        raise TypeError(f"{about} is no number")
    return about


@pipeline("numbers/rates")
def rates(about: str) -> str:
    fetch_rates("first" if about == "first" else "ok")
    return store_rates(about)


def roll_all() -> None:
    while roll_further():
        pass


def demo(label: str, **more: Any) -> Task:
    return demo_task.enqueue(DemoRequest(label=label, delay_seconds=0, **more))


def until_ended() -> None:
    """Whatever waits for a retry has its last one."""
    for _ in range(7):
        work()
        Task.objects.filter(status="retrying").update(due_at=F("created_at"), sort_at=F("created_at"))


def ended_tasks() -> dict[str, Task]:
    """Tasks that ended in each way."""
    out_of_order.update({"first", "again", "mended", "other"})
    tasks = {name: rates.enqueue(name) for name in ("first", "again", "mended", "other", "fine")}
    tasks |= {"broken": demo("x", simulate_failure=True), "unsteady": demo("y", failures_before_success=2)}
    tasks |= {"declined": shop.order.enqueue(-1), "forgiving": shop.forgiving.enqueue(-1)}
    until_ended()
    advance(seconds=2)
    until_ended()
    tasks["cancelled"], tasks["revived"] = demo("c"), demo("r")
    for name in ("cancelled", "revived"):
        control.cancel(tasks[name].pk)
    return tasks


def changed(tasks: dict[str, Task]) -> None:
    """What people do about them."""
    out_of_order.difference_update({"mended", "other"})
    for name in ("again", "mended", "revived", "broken"):
        control.retry(tasks[name].pk)
    control.retry(tasks["fine"].pk, from_step="store-rates")
    control.rerun(tasks["first"].pk)
    until_ended()
    control.retry(tasks["other"].pk)  # and it stands in the queue


def unfinished_tasks() -> None:
    """One in each state in which a task has not ended."""
    with InProcessWorker() as worker:
        work()
        shop.pages.enqueue(3)
        worker.work(budget=timedelta(0))  # its parallel steps stand in the queue
    demo("queued")
    demo_task.using(run_at=datetime.fromisoformat("2100-01-01T00:00Z")).enqueue(DemoRequest(label="later"))


def numbers_on(page: str) -> Iterator[tuple[str, str, int]]:
    """Each link to a list of tasks with a number: where it stands, its address, and the number."""
    for found in re.finditer(r"<tr><th[^>]*><a href=\"([^\"]+)\">[^<]+</a></th>((?:<td>[^<]*</td>)+)", page):
        cells = re.findall(r"<td>([^<]*)</td>", found[2])
        yield "slice", unescape(found[1]), sum(int(cells[place]) for place in (0, 2, 3))
    for found in re.finditer(r"<a\b([^>]*)>(.*?)</a>", page, flags=re.DOTALL):
        attributes = dict(re.findall(r'([\w-]+)="([^"]*)"', found[1]))
        address = unescape(attributes.get("href", ""))
        said = " ".join(unescape(re.sub(r"<[^>]+>", " ", found[2])).split())
        if not address.startswith(f"{LIST}?"):
            continue
        if (bar := attributes.get("aria-label", "")).endswith(("succeeded", "failed", "cancelled")):
            yield (
                "bar",
                address,
                sum(int(number) for number in re.findall(r"(\d+) (?:succeeded|failed|cancelled)", bar)),
            )
        elif "tq-tile" in attributes.get("class", ""):
            if number := re.search(r"^Waiting now (\d+)|(\d+) (?:ended|failed)\b", said):
                yield f"tile {said[:9]}", address, int(number[1] or number[2])
        elif number := re.search(r"^(\d+)\b|^Failures (\d+)", said):
            yield re.sub(r"\d+", "n", said), address, int(number[1] or number[2])


def differences(client) -> tuple[list[str], set[str]]:
    """Where a list holds another number than its link says, and which links there are."""
    cache.clear()
    wrong, places = [], set()
    for place, address, number in numbers_on(client.get(HOME).content.decode()):
        held = client.get(address).context["cl"].result_count
        places.add(place)
        if held != number:
            wrong.append(f"{place} says {number}, its list holds {held}: {address}")
    return wrong, places


@pytest.fixture
def onlooker(monkeypatch):
    out_of_order.clear()
    monkeypatch.setattr(navigation, "pills", stats.pills)
    return client_of("olaf", "view_task", "view_pipeline", "view_worker")


@pytest.mark.parametrize(
    "counted_before",
    [pytest.param(True, id="counted before"), pytest.param(False, id="not counted before", marks=pytest.mark.slow)],
)
def test_each_number_is_that_of_the_list_behind_it(onlooker, counted_before, monkeypatch):
    tasks = ended_tasks()
    if counted_before:
        advance(minutes=3)
        roll_all()
        assert differences(onlooker)[0] == []
    changed(tasks)
    unfinished_tasks()
    ahead = "(statement_timestamp() + interval '3 minutes')"  # what has just ended is counted, too
    monkeypatch.setattr(rolling, "LOCK_MARK", rolling.LOCK_MARK.replace("statement_timestamp()", ahead))
    roll_all()

    wrong, places = differences(onlooker)

    assert wrong == []
    assert places >= {
        "bar", "slice", "tile Waiting n", "tile Throughpu", "tile Failure r",
        "n", "n ended", "n in queue", "n fixed by retry", "Failures n",
    }  # fmt: skip


def test_what_needs_attention_empties_as_it_is_repaired(onlooker):
    tasks = ended_tasks()
    advance(minutes=3)
    roll_all()
    failed = "2 TypeError in numbers/rates \N{SINGLE RIGHT-POINTING ANGLE QUOTATION MARK} store-rates"
    assert failed.replace("2", "3", 1) in text_of(onlooker.get(HOME))

    out_of_order.clear()
    control.retry(tasks["mended"].pk)
    cache.clear()
    assert failed in text_of(onlooker.get(HOME))

    for name in ("again", "other", "first", "declined", "broken"):
        control.cancel(control.retry(tasks[name].pk).pk)
    cache.clear()
    assert "No task that ended in this period is failed now." in text_of(onlooker.get(HOME))
