"""GET /api/tasks/{id}."""

from __future__ import annotations

from taskqueue.models import Attempt, Step, Task


def test_a_task_is_shown_with_its_steps_and_result(api, succeeded):
    body = api.get(f"/api/tasks/{succeeded.pk}").json()

    assert (body["id"], body["status"]) == (str(succeeded.pk), "succeeded")
    assert body["result"] == {"charge": "charged succeeded", "ship": "shipped succeeded"}
    assert [(step["key"], step["status"], step["output"]) for step in body["steps"]] == [
        ("charge", "succeeded", "charged succeeded"),
        ("ship", "succeeded", "shipped succeeded"),
    ]
    assert body["worker"]["pid"]
    assert body["finished_at"].endswith("Z")
    assert body["next_run_at"] is body["error"] is None


def test_failed_attempts_are_shown_with_the_step_that_they_belong_to(api, failed):
    body = api.get(f"/api/tasks/{failed.pk}").json()

    charge, ship = body["steps"]
    (attempt,) = ship["attempts"]
    assert charge["attempts"] == body["attempts"] == []
    assert (attempt["number"], attempt["outcome"], attempt["error_message"]) == (1, "failed", "ship is broken")
    assert "Permanent" in attempt["traceback"]
    assert body["error"] == {"type": "Permanent", "message": "ship is broken", "step": "ship"}


def test_attempts_of_the_body_are_shown_apart_from_steps(api, failed):
    Attempt.objects.filter(task=failed).update(step_key="")

    body = api.get(f"/api/tasks/{failed.pk}").json()

    assert [attempt["step"] for attempt in body["attempts"]] == [""]
    assert [step["attempts"] for step in body["steps"]] == [[], []]


def test_logs_are_shown_with_their_attempt(api, failed):
    logs = {"dropped": 2, "lines": [[15, "WARNING", "shop", "the box is used up"]]}
    Step.objects.filter(task=failed, key="charge").update(logs=logs)
    Attempt.objects.filter(task=failed).update(logs=logs)
    shown = {
        "dropped": 2,
        "lines": [{"after_ms": 15, "level": "WARNING", "logger": "shop", "text": "the box is used up"}],
    }

    charge, ship = api.get(f"/api/tasks/{failed.pk}").json()["steps"]

    assert (charge["logs"], ship["logs"], ship["attempts"][0]["logs"]) == (shown, None, shown)


def test_the_code_fingerprints_are_shown(api, succeeded, queued):
    code = api.get(f"/api/tasks/{succeeded.pk}").json()["code"]
    fresh = api.get(f"/api/tasks/{queued.pk}").json()

    assert code["began"] == code["ended"] != ""
    assert (code["version"], code["changed"]) == ("", False)
    assert fresh["code"] == {"version": "", "began": "", "ended": "", "changed": False}
    assert fresh["drift"] is None


def test_drift_is_shown(api, succeeded):
    notes = [
        {"key": "charge", "kind": "arguments", "recorded": '{"amount": 3}', "now": '{"amount": 4}'},
        {"key": "wrap", "kind": "unused", "recorded": "{}", "now": None},
    ]
    Task.objects.filter(pk=succeeded.pk).update(drift=notes, code_began="a", version="7")

    body = api.get(f"/api/tasks/{succeeded.pk}").json()

    assert body["drift"] == notes
    assert (body["code"]["version"], body["code"]["changed"]) == ("7", True)


def test_an_id_may_be_written_in_upper_case(api, queued):
    assert api.get(f"/api/tasks/{str(queued.pk).upper()}").json()["id"] == str(queued.pk)


def test_a_task_is_read_with_five_queries(api, failed, django_assert_num_queries):
    with django_assert_num_queries(5):
        api.get(f"/api/tasks/{failed.pk}")
