"""POST /api/tasks/{id}/rerun."""

from __future__ import annotations

from taskqueue.models import Pipeline, Task
from tests.support.api import enqueue_order, problem_of


def test_a_rerun_is_a_new_task_from_the_same_payload(api):
    task = enqueue_order("A1", key="order-42", priority=5, labels={"tenant": "a"})

    response = api.post(f"/api/tasks/{task.pk}/rerun")

    body = response.json()
    assert response.status_code == 202
    assert response["Location"] == f"/api/tasks/{body['id']}" != f"/api/tasks/{task.pk}"
    assert (body["rerun_of"], body["priority"], body["labels"]) == (str(task.pk), 5, {"tenant": "a"})
    assert (body["key"], body["duplicate"]) == ("", False)
    assert api.get(response["Location"]).json()["payload"]["number"] == "A1"


def test_a_payload_that_the_code_no_longer_takes_is_a_conflict(api, queued):
    Task.objects.filter(pk=queued.pk).update(payload={"number": "A1", "quantity": 0})

    assert problem_of(api.post(f"/api/tasks/{queued.pk}/rerun")) == (409, "invalid-payload", ["/payload/quantity"])


def test_a_pipeline_whose_code_is_gone_is_a_conflict(api, queued):
    Task.objects.filter(pk=queued.pk).update(pipeline=Pipeline.objects.create(name="shop/former"))

    assert problem_of(api.post(f"/api/tasks/{queued.pk}/rerun")) == (409, "unknown-pipeline", ["/pipeline"])
