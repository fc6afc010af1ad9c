"""Every number of the overview equals the count of the list that it links to, also after retries and reruns."""

from __future__ import annotations

import itertools
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
from taskqueue.engine.maintenance.rollups import roll_up_window
from taskqueue.engine.queries import stats
from taskqueue.engine.sql.history import rollups as rolling
from taskqueue.engine.tasks import control
from taskqueue.models import Task
from taskqueue.testing import InProcessWorker, advance, work
from tests.support.admin_pages import LIST, text_of
from tests.support.pipelines import shop
from tests.support.users import client_of

HOME = "/admin/"
broken: set[str] = set()
"""Payloads whose tasks fail; tests remove them to repair it."""


@step
def fetch_rates(about: str) -> str:
    if about in broken:
        raise Permanent(f"{about} is out of order")
    return about


@step
def store_rates(about: str) -> str:
    if about in broken:
        raise TypeError(f"{about} is no number")
    return about


@pipeline("numbers/rates")
def rates(about: str) -> str:
    fetch_rates("first" if about == "first" else "ok")
    return store_rates(about)


def roll_all() -> None:
    while roll_up_window():
        pass


def demo(label: str, **more: Any) -> Task:
    return demo_task.enqueue(DemoRequest(label=label, delay_seconds=0, **more))


def work_until_ended() -> None:
    """Execute all tasks with all their retries."""
    for _ in range(7):
        work()
        Task.objects.filter(status="retrying").update(due_at=F("created_at"), sort_at=F("created_at"))


def ended_tasks() -> dict[str, Task]:
    """Tasks with each outcome."""
    broken.update({"first", "again", "mended", "other"})
    tasks = {name: rates.enqueue(name) for name in ("first", "again", "mended", "other", "fine")}
    tasks |= {"broken": demo("x", simulate_failure=True), "unsteady": demo("y", failures_before_success=2)}
    tasks |= {"declined": shop.order.enqueue(-1), "forgiving": shop.forgiving.enqueue(-1)}
    work_until_ended()
    advance(seconds=2)
    work_until_ended()
    tasks["cancelled"], tasks["revived"] = demo("c"), demo("r")
    for name in ("cancelled", "revived"):
        control.cancel(tasks[name].pk)
    return tasks


def retry_and_rerun(tasks: dict[str, Task]) -> None:
    """Retry, rerun and repair some of the ended tasks."""
    broken.difference_update({"mended", "other"})
    for name in ("again", "mended", "revived", "broken"):
        control.retry(tasks[name].pk)
    control.retry(tasks["fine"].pk, from_step="store-rates")
    control.rerun(tasks["first"].pk)
    work_until_ended()
    control.retry(tasks["other"].pk)  # and it stays in the queue


def unfinished_tasks() -> None:
    """A task in each status that is not an end."""
    with InProcessWorker() as worker:
        work()
        shop.pages.enqueue(3)
        worker.work(budget=timedelta(0))  # its parallel steps stay in the queue
    demo("queued")
    demo_task.using(run_at=datetime.fromisoformat("2100-01-01T00:00Z")).enqueue(DemoRequest(label="later"))


def numbers_on(page: str) -> Iterator[tuple[str, str, int]]:
    """Each link to a list of tasks with a number: its place on the page, its address, and the number."""
    for found in re.finditer(r"<tr><th[^>]*><a href=\"([^\"]+)\">[^<]+</a></th>((?:<td>[^<]*</td>)+)", page):
        cells = re.findall(r"<td>([^<]*)</td>", found[2])
        yield "table", unescape(found[1]), sum(int(cells[column]) for column in (0, 2, 3))
    for found in re.finditer(r"<a\b([^>]*)>(.*?)</a>", page, flags=re.DOTALL):
        attributes = dict(re.findall(r'([\w-]+)="([^"]*)"', found[1]))
        address = unescape(attributes.get("href", ""))
        text = " ".join(unescape(re.sub(r"<[^>]+>", " ", found[2])).split())
        if not address.startswith(f"{LIST}?"):
            continue
        if (bar := attributes.get("aria-label", "")).endswith(("succeeded", "failed", "cancelled")):
            yield (
                "bar",
                address,
                sum(int(number) for number in re.findall(r"(\d+) (?:succeeded|failed|cancelled)", bar)),
            )
        elif "tq-stat-card" in attributes.get("class", ""):
            if number := re.search(r"^In queue (\d+)|(\d+) (?:ended|failed)\b", text):
                yield f"card {text[:8]}", address, int(number[1] or number[2])
        elif number := re.search(r"^(\d+)\b|^Failures (\d+)", text):
            yield re.sub(r"\d+", "n", text), address, int(number[1] or number[2])


def differences(client) -> tuple[list[str], set[str]]:
    """The links whose number differs from their list, and the places of all links.

    Of the bars of periods without tasks, which are most, every eighth is followed.
    """
    cache.clear()
    wrong, places, empty_bars = [], set(), itertools.count()
    for place, address, number in numbers_on(client.get(HOME).content.decode()):
        places.add(place)
        if place == "bar" and number == 0 and next(empty_bars) % 8:
            continue
        count = client.get(address).context["cl"].result_count
        if count != number:
            wrong.append(f"{place} says {number}, its list has {count}: {address}")
    return wrong, places


@pytest.fixture
def reader(monkeypatch):
    broken.clear()
    monkeypatch.setattr(navigation, "badge_counts", stats.badge_counts)
    return client_of("olaf", "view_task", "view_pipeline", "view_worker")


@pytest.mark.parametrize(
    "counted_before",
    [pytest.param(True, id="counted before"), pytest.param(False, id="not counted before", marks=pytest.mark.slow)],
)
def test_each_number_equals_the_count_of_its_list(reader, counted_before, monkeypatch):
    tasks = ended_tasks()
    if counted_before:
        advance(minutes=3)
        roll_all()
        assert differences(reader)[0] == []
    retry_and_rerun(tasks)
    unfinished_tasks()
    ahead = "(statement_timestamp() + interval '3 minutes')"  # so that tasks that have just ended are counted
    monkeypatch.setattr(rolling, "LOCK_WATERMARK", rolling.LOCK_WATERMARK.replace("statement_timestamp()", ahead))
    roll_all()

    wrong, places = differences(reader)

    assert wrong == []
    assert places >= {
        "bar", "table", "card In queue", "card Throughp", "card Failure ",
        "n", "n ended", "n in queue", "n fixed by retry", "Failures n",
    }  # fmt: skip


def test_needs_attention_empties_as_tasks_are_repaired(reader):
    tasks = ended_tasks()
    advance(minutes=3)
    roll_all()
    failed = "2 TypeError in numbers/rates \N{SINGLE RIGHT-POINTING ANGLE QUOTATION MARK} store-rates"
    assert failed.replace("2", "3", 1) in text_of(reader.get(HOME))

    broken.clear()
    control.retry(tasks["mended"].pk)
    cache.clear()
    assert failed in text_of(reader.get(HOME))

    for name in ("again", "other", "first", "declined", "broken"):
        control.cancel(control.retry(tasks[name].pk).pk)
    cache.clear()
    assert "No failed tasks in this period." in text_of(reader.get(HOME))
