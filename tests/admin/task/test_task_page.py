"""A task's page."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest
from django.db.models.functions import Now

from demo.pipelines import DemoRequest, demo_task
from taskqueue.engine.tasks import control
from taskqueue.models import Attempt, ConcurrencyLimit, Step, Task
from taskqueue.testing import InProcessWorker, advance, work
from tests.support.admin_pages import LIST, messages_of, page_of, text_of
from tests.support.moves import arranging


def badges(response) -> list[tuple[str, str]]:
    """Each step's status word and name."""
    rows = re.findall(
        r'class="tq-badge[^"]*">.*?</svg>([^<]+)</span>\s*<span class="tq-step-label">'
        r'<span class="tq-step-name">([^<]+)<',
        response.content.decode(),
    )
    return [(word, name) for word, name in rows]


def test_an_anonymous_user_is_redirected_to_login(client, queued):
    assert client.get(page_of(queued)).url.startswith("/admin/login/")


def test_staff_without_view_permission_is_refused(stranger, queued):
    assert stranger.get(page_of(queued)).status_code == 403


def test_a_failed_task_shows_its_error_and_opens_the_step(viewer, failed):
    response = viewer.get(page_of(failed))

    text = text_of(response)
    assert "Why it failed: step simulate-api-call" in text
    assert "Permanent simulated failure in simulate-api-call, as the request asked" in text
    assert "Permanent : simulated failure in simulate-api-call" in text
    assert 'raise Permanent(f"simulated failure' in text
    assert badges(response) == [
        ("Succeeded", "simulate-processing"),
        ("Succeeded", "simulate-delay"),
        ("Failed", "simulate-api-call"),
        ("Not reached", "demonstrate-retry"),
        ("Not reached", "return-result"),
    ]
    assert re.findall(r'<details id="(step-\d)" class="tq-step" open>', response.content.decode()) == ["step-3"]
    assert '<a href="#step-3">simulate-api-call</a>' in response.content.decode()


def test_a_retrying_task_shows_its_error_and_next_run(viewer, retrying):
    response = viewer.get(page_of(retrying))

    assert "Why it is retrying: step demonstrate-retry ConnectionError simulated failure 1 of 2" in text_of(response)
    assert "Next run" in text_of(response)
    assert ("Retrying", "demonstrate-retry") in badges(response)
    assert ("Not yet", "return-result") in badges(response)


def attempt_on(page) -> str:
    """The attempt and its limit on a task's page."""
    shown = re.search(r"Attempt (\d+ of \d+) ", text_of(page))
    return shown.group(1) if shown else ""


def attempt_in(task_list) -> str:
    """The attempt in a list of one task."""
    shown = re.search(r'class="field-attempt"><span [^>]*>(\d+)<', task_list.content.decode())
    return shown.group(1) if shown else ""


def test_list_and_page_count_the_attempts_since_the_last_retry(viewer):
    task = demo_task.enqueue(DemoRequest(label="hopeless", delay_seconds=0, failures_before_success=9))
    seen = []
    for _ in range(5):
        work()
        seen.append((attempt_in(viewer.get(LIST)), attempt_on(viewer.get(page_of(task)))))
        advance(hours=1)
    assert seen == [("2", "2 of 5"), ("3", "3 of 5"), ("4", "4 of 5"), ("5", "5 of 5"), ("5", "5 of 5")]
    assert Task.objects.get().status == "failed"

    control.retry(task.pk)
    work()

    assert (attempt_in(viewer.get(LIST)), attempt_on(viewer.get(page_of(task)))) == ("2", "2 of 5")
    assert "demonstrate-retry \N{MULTIPLICATION SIGN}6" in text_of(viewer.get(page_of(task)))


def test_list_and_page_agree_after_an_earlier_step_was_retried(viewer, failed):
    Step.objects.filter(key="simulate-delay").update(failures=3)

    assert (attempt_in(viewer.get(LIST)), attempt_on(viewer.get(page_of(failed)))) == ("1", "1 of 5")


def test_list_and_page_count_lost_attempts_too(viewer, queued):
    with InProcessWorker() as worker:
        Task.objects.filter(pk=queued.pk).update(status="running", worker=worker.row, started_at=Now(), lease=3)
        worker.row.task_id, worker.row.step, worker.row.step_started_at = queued.pk, "simulate-processing", Now()
        worker.row.save()
        for number in (1, 2):
            Attempt.objects.create(
                task=queued, step_key="simulate-processing", number=number, outcome="lost", error_type="WorkerLost",
                lease=number, started_at=Now(), finished_at=Now(),
            )  # fmt: skip

        assert (attempt_in(viewer.get(LIST)), attempt_on(viewer.get(page_of(queued)))) == ("3", "3 of 5")
        assert "Failed attempts 2" in text_of(viewer.get(page_of(queued)))


def test_the_page_breaks_down_the_duration(viewer, succeeded):
    Task.objects.update(queued_seconds=6, blocked_seconds=578, executing_seconds=1, since=Now())

    text = text_of(viewer.get(page_of(succeeded)))

    assert "Duration 9m 45s Time spent in queue 6.0s, blocked by limits 9m 38s, executing 1.0s" in text


def test_time_before_the_due_time_is_no_queue_time(viewer):
    task = demo_task.using(run_at=datetime.now(UTC) + timedelta(minutes=30)).enqueue(DemoRequest(label="x"))
    assert "Not due" in text_of(viewer.get(page_of(task)))
    advance(minutes=30, seconds=20)
    work()

    response = viewer.get(page_of(task))

    assert re.search("Not due: (29m 59s|30m 00s)", response.content.decode())
    assert re.search(r"In queue: [12]\ds", response.content.decode())
    assert re.search(r"Time spent in queue [12]\ds, executing", text_of(response))


def test_a_succeeded_task_shows_values_and_failed_attempts(viewer, retrying):
    for _ in range(3):
        advance(minutes=1)
        work()

    text = text_of(viewer.get(page_of(retrying)))

    assert '"attempts" : 3' in text
    assert "demonstrate-retry \N{MULTIPLICATION SIGN}3" in text
    assert "ConnectionError simulated failure 2 of 2" in text
    assert "Why" not in text


def test_a_running_task_shows_its_current_step(viewer, queued):
    worker = InProcessWorker().row
    worker.task_id, worker.step, worker.step_started_at = queued.pk, "simulate-processing", Now() - timedelta(minutes=5)
    worker.save()
    Task.objects.filter(pk=queued.pk).update(status="running", worker=worker, started_at=Now(), progress=0.4)

    response = viewer.get(page_of(queued))

    assert badges(response)[0] == ("Running", "simulate-processing")
    assert badges(response)[1] == ("Not yet", "simulate-delay")
    assert "5m 00s" in text_of(response)
    assert "40%" in text_of(response)


def test_lost_attempts_of_unrecorded_steps_are_shown(viewer, queued):
    for key in ("simulate-api-call", "", "step-of-old-code"):
        Attempt.objects.create(
            task=queued, step_key=key, number=1, outcome="lost", error_type="WorkerLost", lease=1,
            error_message=f"lost in {key or 'between steps'}", started_at=Now(), finished_at=Now(),
        )  # fmt: skip

    response = viewer.get(page_of(queued))

    text = text_of(response)
    assert text.count("1 Lost ") == 3
    assert "WorkerLost lost in simulate-api-call" in text
    assert [name for _word, name in badges(response)].count("simulate-api-call") == 1
    assert "step-of-old-code" in [name for _word, name in badges(response)]
    assert badges(response)[-1][1] == "Body of the pipeline"


def test_a_failing_body_is_the_row_that_failed(viewer, queued):
    error = {"type": "KeyError", "message": "'x'", "step": None}
    with arranging():
        Task.objects.filter(pk=queued.pk).update(status="failed", error=error, finished_at=Now(), failures=1)
    Attempt.objects.create(
        task=queued, step_key="", number=1, outcome="failed", error_type="KeyError", error_message="'x'", lease=1,
        traceback="Traceback: here", started_at=Now(), finished_at=Now(),
    )  # fmt: skip

    response = viewer.get(page_of(queued))

    assert badges(response)[-1] == ("Failed", "Body of the pipeline")
    assert "Why it failed KeyError 'x'" in text_of(response)


def test_hostile_values_are_escaped(viewer, failed):
    evil = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>"
    Task.objects.filter(pk=failed.pk).update(
        payload={evil: evil}, key=evil[:200], labels={evil: evil}, error={"type": evil, "message": evil, "step": evil}
    )
    Step.objects.filter(task=failed, key="simulate-delay").update(key=evil, input={evil: evil}, output=evil)
    Attempt.objects.filter(task=failed).update(error_type=evil, error_message=evil, traceback=evil, step_key=evil)

    for address in (page_of(failed), LIST):
        body = viewer.get(address).content.decode()
        assert "<script>alert" not in body
        assert "<img src=x" not in body
        assert "&lt;script&gt;alert(1)" in body


def test_a_large_payload_is_cut_with_a_note(viewer, queued):
    Task.objects.filter(pk=queued.pk).update(payload={"text": "x" * 100_000 + "END"})

    text = text_of(viewer.get(page_of(queued)))

    assert "Showing the first 64.0 KB of 97.7 KB. Download all" in text
    assert "END" not in text


def test_query_count_is_independent_of_steps(admin, django_assert_num_queries, queued, succeeded, failed):
    for task in (queued, succeeded, failed):  # the first one has succeeded too by now
        # session, user, task, known steps, outline, attempts, reruns, children, history; then, if there are any, the
        # steps and the details of the last attempts
        with django_assert_num_queries(11 if task == failed else 10):
            assert admin.get(page_of(task)).status_code == 200


def test_a_waiting_task_shows_why_and_links_its_blockers(admin, queued, django_assert_num_queries):
    other = demo_task.enqueue(DemoRequest(label="first", delay_seconds=0))
    ConcurrencyLimit.objects.filter(pipeline=queued.pipeline_id).update(tasks=1)
    with django_assert_num_queries(12):  # and for the wait reasons: task, blockers, queue
        admin.get(page_of(queued))
    with InProcessWorker() as worker:
        Task.objects.filter(pk=other.pk).update(
            status="running", worker=worker.row, started_at=Now(), slot_acquired_at=Now(), lease=1
        )
        response = admin.get(page_of(queued))

    assert (
        f"Why it is waiting Pipeline demo/task is at its concurrency limit (1 of 1). …{str(other.pk)[-6:]} running "
        "It is the next one. 1 of 1 live workers is busy."
    ) in text_of(response)
    assert page_of(other) in response.content.decode()


def test_an_ended_task_shows_no_wait_reasons(viewer, succeeded):
    assert "Why it is waiting" not in text_of(viewer.get(page_of(succeeded)))


def test_a_rerun_and_its_origin_link_to_each_other(viewer, succeeded):
    copy = control.rerun(succeeded.pk)

    assert page_of(copy) in viewer.get(page_of(succeeded)).content.decode()
    assert page_of(succeeded) in viewer.get(page_of(copy)).content.decode()


def test_a_task_of_a_removed_pipeline_is_shown(viewer, failed, pipeline_without_code):
    Task.objects.filter(pk=failed.pk).update(pipeline=pipeline_without_code)

    response = viewer.get(page_of(failed))

    assert "gone/away" in text_of(response)
    assert len(badges(response)) == 3


def test_drift_and_changed_code_are_shown(viewer, succeeded):
    assert "Drift" not in text_of(viewer.get(page_of(succeeded)))
    evil = "<script>alert(1)</script>"
    notes = [
        {"key": "", "kind": "version", "recorded": "1", "now": "2"},
        {"key": "charge", "kind": "arguments", "recorded": '{"amount": 3}', "now": '{"amount": 4}'},
        {"key": evil, "kind": "unused", "recorded": evil, "now": None},
    ]
    Task.objects.filter(pk=succeeded.pk).update(drift=notes, version="1", code_began="aaaa", code_ended="bbbb")

    response = viewer.get(page_of(succeeded))

    text = text_of(response)
    assert "began on aaaa, ended on bbbb" in text
    assert "Drift Where the record and the code that ended the task differ. Version The code no longer has" in text
    assert "charge The code calls it with other arguments" in text
    assert '{"amount": 3} Now {"amount": 4}' in text
    assert evil not in response.content.decode()


def test_key_labels_and_priority_are_shown(viewer):
    task = demo_task.using(key="order-7", labels={"tenant": "acme"}, priority=300).enqueue(DemoRequest(label="x"))

    text = text_of(viewer.get(page_of(task)))

    assert "demo/task order-7" in text
    assert "tenant: acme" in text
    assert "+300" in text


@pytest.mark.parametrize("task_id", ["00000000-0000-7000-8000-000000000000", "nonsense", "demo/task"])
def test_a_missing_task_redirects_to_the_list_with_a_message(viewer, task_id):
    response = viewer.get(f"{LIST}{task_id}/change/", follow=True)

    assert response.redirect_chain == [(LIST, 302)]
    assert messages_of(response) == [f"There is no task {task_id}. Ended tasks may have been pruned."]


def test_the_page_refuses_post(admin, queued):
    assert admin.post(page_of(queued), {}).status_code == 405


def test_times_are_shown_with_seconds(viewer, failed):
    text = text_of(viewer.get(page_of(failed)))

    for moment in (failed.created_at, failed.started_at, failed.finished_at):
        assert f"{moment:%b %d, %H:%M:%S} UTC" in text
