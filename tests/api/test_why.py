"""GET /api/tasks/{id}/why."""

from __future__ import annotations

from django.db.models.functions import Now

from taskqueue.engine.queries.why import why
from taskqueue.models import Pipeline
from tests.support.api import problem_of

MEMBERS = {
    "code", "sentence", "name", "step", "attempt", "since", "until", "by", "cause", "limit", "taken", "key", "holders",
    "events", "ahead", "ahead_is_more", "expected_at", "workers", "workers_busy",
}  # fmt: skip


def test_the_hardest_reason_comes_first(api, queued):
    Pipeline.objects.filter(name=queued.pipeline_id).update(
        paused_at=Now(), paused_by="dana", pause_reason="stocktaking"
    )

    body = api.get(f"/api/tasks/{queued.pk}/why").json()

    assert set(body) == {"id", "pipeline", "status", "as_of", "reasons"}
    assert (body["id"], body["pipeline"], body["status"]) == (str(queued.pk), queued.pipeline_id, "queued")
    assert [reason["code"] for reason in body["reasons"]] == ["paused", "no_worker", "queued"]
    assert all(set(reason) == MEMBERS for reason in body["reasons"])
    assert (body["reasons"][0]["by"], body["reasons"][0]["cause"]) == ("dana", "stocktaking")
    assert [reason["sentence"] for reason in body["reasons"]] == [each.sentence for each in why(queued.pk).reasons]


def test_the_status_has_the_first_reason_in_short(api, queued):
    assert api.get(f"/api/tasks/{queued.pk}/status").json()["waiting_for"] == "a live worker"


def test_an_ended_task_has_a_reason_too(api, failed):
    (reason,) = api.get(f"/api/tasks/{failed.pk}/why").json()["reasons"]

    assert reason["code"] == "ended"
    assert "It failed at " in reason["sentence"]


def test_why_is_answered_with_view_task(caller_with, anonymous, queued):
    assert problem_of(anonymous.get(f"/api/tasks/{queued.pk}/why"))[:2] == (401, "login-required")
    assert caller_with("view_task").get(f"/api/tasks/{queued.pk}/why").status_code == 200


def test_why_needs_view_task(caller_with, queued):
    assert problem_of(caller_with("add_task").get(f"/api/tasks/{queued.pk}/why"))[0] == 403


def test_why_refuses_post(api, queued):
    assert api.post(f"/api/tasks/{queued.pk}/why").status_code == 405
