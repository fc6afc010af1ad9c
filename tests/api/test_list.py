"""GET /api/tasks."""

from __future__ import annotations

from datetime import timedelta
from urllib.parse import quote

import pytest

from taskqueue.models import Pipeline, Task
from taskqueue.testing import work
from tests.support.api import enqueue_order, problem_of
from tests.support.pipelines.orders import anything


def numbers(response) -> list[str]:
    assert response.status_code == 200, response.content
    return [task["labels"]["number"] for task in response.json()["tasks"]]


@pytest.fixture
def seven(db) -> list[Task]:
    return [enqueue_order("A", labels={"number": str(number)}) for number in range(7)]


def test_tasks_are_listed_newest_first(api, seven):
    assert numbers(api.get("/api/tasks")) == ["6", "5", "4", "3", "2", "1", "0"]


def test_an_empty_list_has_no_cursors(api):
    assert api.get("/api/tasks").json() == {"tasks": [], "next_cursor": None, "previous_cursor": None}


def test_pages_can_be_followed_forward_and_back(api, seven):
    first = api.get("/api/tasks", limit=3)
    second = api.get("/api/tasks", limit=3, cursor=first.json()["next_cursor"])
    third = api.get("/api/tasks", limit=3, cursor=second.json()["next_cursor"])
    back = api.get("/api/tasks", limit=3, cursor=third.json()["previous_cursor"])
    start = api.get("/api/tasks", limit=3, cursor=back.json()["previous_cursor"])

    assert [numbers(page) for page in (first, second, third)] == [["6", "5", "4"], ["3", "2", "1"], ["0"]]
    assert [numbers(page) for page in (back, start)] == [["3", "2", "1"], ["6", "5", "4"]]
    assert first.json()["previous_cursor"] is third.json()["next_cursor"] is start.json()["previous_cursor"] is None


def test_new_tasks_do_not_shift_pages(api, seven):
    cursor = api.get("/api/tasks", limit=3).json()["next_cursor"]
    enqueue_order("A", labels={"number": "new"})

    assert numbers(api.get("/api/tasks", limit=3, cursor=cursor)) == ["3", "2", "1"]


def test_a_cursor_works_after_its_task_is_deleted(api, seven):
    cursor = api.get("/api/tasks", limit=3).json()["next_cursor"]
    seven[4].delete()

    assert numbers(api.get("/api/tasks", limit=3, cursor=cursor)) == ["3", "2", "1"]


def test_a_page_that_is_exactly_full_is_the_last(api, seven):
    assert api.get("/api/tasks", limit=7).json()["next_cursor"] is None


def test_tasks_are_filtered_by_pipeline_and_status(api):
    done = enqueue_order("A")
    work()
    later = enqueue_order("B", run_at=done.created_at + timedelta(days=1))
    other = anything.enqueue(1)

    def ids(query: str) -> list[str]:
        return [task["id"] for task in api.get(f"/api/tasks?{query}").json()["tasks"]]

    assert ids("pipeline=shop/order") == [str(later.pk), str(done.pk)]
    assert ids("pipeline=anything&status=queued") == [str(other.pk)]
    assert (
        ids("status=succeeded,scheduled") == ids("status=succeeded&status=scheduled") == [str(later.pk), str(done.pk)]
    )
    assert ids("status=cancelled") == []


def test_tasks_are_filtered_by_key_and_labels(api):
    enqueue_order("A", key="order-1", labels={"number": "1", "tenant": "a:b"})
    enqueue_order("A", key="order-2", labels={"number": "2", "tenant": "a:b", "kind": "test"})
    enqueue_order("A", labels={"number": "3", "tenant": "c"})

    assert numbers(api.get("/api/tasks", key="order-1")) == ["1"]
    assert numbers(api.get("/api/tasks", label="tenant:a:b")) == ["2", "1"]
    assert numbers(api.get("/api/tasks", label=["tenant:a:b", "kind:test"])) == ["2"]


def test_tasks_are_filtered_by_time(api, seven):
    middle = seven[3].created_at.isoformat().replace("+00:00", "Z")

    assert numbers(api.get("/api/tasks", created_after=middle)) == ["6", "5", "4"]
    assert numbers(api.get("/api/tasks", created_before=middle)) == ["2", "1", "0"]


def test_tasks_of_a_removed_pipeline_can_be_listed(api):
    Pipeline.objects.create(name="shop/former")

    assert api.get("/api/tasks", pipeline="shop/former").json()["tasks"] == []


@pytest.mark.parametrize(
    ("query", "pointer"),
    [
        ("pipeline=shop/ordr", "/pipeline"),
        ("pipeline=%00", "/pipeline"),
        ("pipeline=", "/pipeline"),
        ("pipeline=a&pipeline=b", "/pipeline"),
        ("status=done", "/status/0"),
        ("status=failed,", "/status/1"),
        ("key=a%00", "/key"),
        ("label=tenant", "/label/0"),
        ("label=a:%00", "/label/0"),
        ("created_after=yesterday", "/created_after"),
        ("created_before=2030-01-31T08:00:00", "/created_before"),
        ("created_before=0001-01-01T00:00:00%2B14:00", "/created_before"),
        ("limit=0", "/limit"),
        ("limit=201", "/limit"),
        ("limit=many", "/limit"),
        ("cursor=", "/cursor"),
        ("cursor=abc", "/cursor"),
        (f"cursor={quote('ü')}", "/cursor"),
        ("state=failed", "/state"),
    ],
)
def test_an_invalid_query_has_a_pointer(api, query, pointer):
    assert problem_of(api.get(f"/api/tasks?{query}")) == (400, "invalid-query", [pointer])


@pytest.mark.parametrize("pages", [1, 2])
def test_a_page_takes_one_query(api, seven, django_assert_num_queries, pages):
    cursor = {"cursor": api.get("/api/tasks", limit=1).json()["next_cursor"]} if pages == 2 else {}

    with django_assert_num_queries(1):
        api.get("/api/tasks", pipeline="shop/order", label="number:3", **cursor)


def test_a_listed_task_has_its_progress(api, failed):
    (task,) = api.get("/api/tasks").json()["tasks"]

    assert (task["steps_done"], task["steps_known"], task["failed_attempts"]) == (1, 2, 1)
    assert task["error"] == {"type": "Permanent", "message": "ship is broken", "step": "ship"}
    assert "payload" not in task
