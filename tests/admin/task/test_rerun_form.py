"""A rerun with an edited payload."""

from __future__ import annotations

import json

import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client

from demo.pipelines import DemoRequest, demo_task
from taskqueue.models import Task
from tests.support.admin_pages import LIST, button_of, messages_of, page_of, text_of

GOOD = '{"label": "mended", "delay_seconds": 0}'


def edit(client: Client, task: Task, payload: str, **more: str):
    return client.post(button_of(task, "edit"), {"payload": payload, **more}, follow=True)


def copies(task: Task) -> list[Task]:
    return list(Task.objects.filter(rerun_of=task))


@pytest.fixture
def task() -> Task:
    request = DemoRequest(label="broken", delay_seconds=0)
    return demo_task.using(key="k-1", priority=7, labels={"tenant": "a"}).enqueue(request)


def test_the_form_shows_the_original_and_an_editable_copy(operator, task):
    response = operator.get(button_of(task, "edit"))

    body = response.content.decode()
    text = body.split("<textarea")[1].split(">", 1)[1].split("</textarea>")[0]
    assert json.loads(text.replace("&quot;", '"'))["label"] == "broken"
    assert "Original payload" in text_of(response)


def test_the_new_task_is_linked_and_audited_on_both(operator, task):
    response = edit(operator, task, GOOD)

    (copy,) = copies(task)
    assert response.redirect_chain == [(page_of(copy), 302)]
    assert messages_of(response) == ["This is a new task with the edited payload."]
    assert copy.payload["label"] == "mended"
    assert (copy.priority, copy.labels, copy.key) == (7, {"tenant": "a"}, "")
    assert page_of(task) in response.content.decode()
    assert page_of(copy) in operator.get(page_of(task)).content.decode()
    log = [(entry.object_id, entry.get_change_message()) for entry in LogEntry.objects.order_by("pk")]
    assert log == [
        (str(task.pk), f"Reran with an edited payload as {copy.pk}."),
        (str(copy.pk), f"Submitted as a rerun of {task.pk} with an edited payload."),
    ]


@pytest.mark.parametrize(
    ("payload", "messages"),
    [
        ('{"label": "x",\n "delay_seconds": 0,}', "This is not JSON: Illegal trailing comma before end of object|"
         "This is not JSON: Expecting property name enclosed in double quotes at line 2, column 21."),
        ("", "This is not JSON: Expecting value at line 1, column 1."),
        ('{"label": NaN}', "This is not JSON: NaN is not a JSON number."),
        ('{"label": "a", "label": "b"}', "The name “label” occurs twice in one object."),
        ("[" * 100_000, "This is nested too deeply"),
        ("[" * 101 + "]" * 101, "This is nested too deeply"),
        ('{"label": "x", "delay_seconds": 99}', "/delay_seconds Input should be less than or equal to 60"),
        ('{"label": "x", "oops": 1}', "/oops Extra inputs are not permitted"),
        ("[1]", "Input should be a valid dictionary"),
        ('{"label": "a\\u0000b"}', "NUL"),
    ],
)  # fmt: skip
def test_an_error_names_its_place_and_keeps_the_input(operator, task, payload, messages):
    response = edit(operator, task, payload)

    assert any(each in text_of(response) for each in messages.split("|")), text_of(response)[-900:]
    assert response.context["form"].text == payload
    assert copies(task) == []
    assert not LogEntry.objects.exists()


def test_a_payload_above_the_limit_names_the_limit(operator, task, settings):
    settings.TASKQUEUE = {"PAYLOAD_MAX_BYTES": 50}

    response = edit(operator, task, json.dumps({"label": "x" * 50}))

    assert "PAYLOAD_MAX_BYTES" in text_of(response)
    assert "x" * 50 in text_of(response)
    assert copies(task) == []


def test_validating_creates_no_task(operator, task):
    response = edit(operator, task, GOOD, check="1")

    assert "The payload is valid. No task was created yet." in text_of(response)
    assert response.context["form"].text == GOOD
    assert copies(task) == []


def test_a_removed_pipeline_is_named_and_keeps_the_input(operator, task, pipeline_without_code):
    Task.objects.filter(pk=task.pk).update(pipeline=pipeline_without_code)

    response = edit(operator, task, GOOD)

    assert "gone/away" in text_of(response)
    assert response.context["form"].text == GOOD


def test_hostile_text_stays_text(operator, task):
    evil = '</textarea><script>alert(1)</script>{"label": '

    assert "<script>alert" not in edit(operator, task, evil).content.decode()


def test_editing_needs_permission_to_add_and_to_view(client, viewer, stranger, task):
    address = button_of(task, "edit")

    assert client.get(address).url.startswith("/admin/login/")
    for who in (viewer, stranger):
        assert who.get(address).status_code == 403
        assert who.post(address, {"payload": GOOD}).status_code == 403
    assert copies(task) == []


def test_editing_needs_a_csrf_token(operator, task):
    strict = Client(enforce_csrf_checks=True)
    strict.cookies = operator.cookies

    assert strict.post(button_of(task, "edit"), {"payload": GOOD}).status_code == 403


@pytest.mark.parametrize("task_id", ["00000000-0000-7000-8000-000000000000", "nonsense"])
def test_a_missing_task_redirects_to_the_list(operator, task_id):
    response = operator.post(f"{LIST}{task_id}/edit/", {"payload": GOOD}, follow=True)

    assert messages_of(response) == [f"There is no task {task_id}. Ended tasks may have been pruned."]
