"""The step panels of a task's page, and the selection of steps when there are very many."""

from __future__ import annotations

import json
import re

import pytest
from django.db import connection
from django.db.models.functions import Now
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from taskqueue.admin.task import queries as page_queries
from taskqueue.engine.execution.run import execute_task
from taskqueue.engine.tasks import control
from taskqueue.engine.worker.settle import settle
from taskqueue.models import Attempt, Step, Task
from taskqueue.testing import InProcessWorker, advance, work
from tests.support.admin_pages import button_of, page_of, text_of
from tests.support.leases import take
from tests.support.moves import arranging
from tests.support.pipelines import shop

RECORDED = {
    "name": "embed", "kind": "step", "status": "succeeded", "input": {"number": 1}, "input_hash": "x", "output": 1,
}  # fmt: skip


def download_of(task: Task, what: str) -> str:
    return reverse("admin:taskqueue_task_download", args=[task.pk, what])


def add_steps(task: Task, count: int, **more: object) -> None:
    """Record finished steps."""
    Step.objects.bulk_create(
        Step(**{**RECORDED, **more, "task": task, "key": f"page#{number}", "started_at": Now(), "finished_at": Now()})
        for number in range(count)
    )


def step_names(response) -> list[str]:
    return re.findall(r'class="tq-step-name">([^<]+)<', response.content.decode())


@pytest.fixture
def ended() -> Task:
    task = shop.order.enqueue(-1)
    for _ in range(4):
        work()
        advance(seconds=2)
    return Task.objects.get(pk=task.pk)


def test_each_attempt_shows_its_log(viewer, ended):
    text = text_of(viewer.get(page_of(ended)))

    assert "Log of the attempt that succeeded" in text
    assert re.search(r"\+\d+ms WARNING shop.admin order -1 looks odd", text)
    assert re.search(r"Permanent card declined Log \+\d+ms WARNING shop.admin the bank answered 51", text)


def test_project_frames_are_bold_and_library_frames_folded(viewer, ended):
    lines = [
        "Traceback (most recent call last):",
        '  File "/srv/shop/steps.py", line 42, in charge_card',
        "    return client.charge(order)",
        "           ^^^^^^^^^^^^^^^^^^^^",
        '  File "/venv/lib/python3.11/site-packages/bank/client.py", line 7, in charge',
        "    raise Declined",
        '  File "/usr/lib/python3.11/socket.py", line 9, in send',
        "bank.Declined: <b>no</b>",
    ]
    Attempt.objects.filter(task=ended).update(traceback="\n".join(lines))

    body = viewer.get(page_of(ended)).content.decode()

    assert re.findall(r'class="tq-frame tq-project-code" title="([^"]+)"', body) == ["/srv/shop/steps.py:42"]
    assert "<summary>2 library frames</summary>" in body
    assert "bank.Declined: &lt;b&gt;no&lt;/b&gt;" in body
    assert "<b>no</b>" not in body


def test_rows_show_their_kind_and_parallel_steps_have_a_heading(viewer, ended):
    body = viewer.get(page_of(ended)).content.decode()

    assert body.count('class="tq-nested"') == 2
    assert body.count("2 parallel steps") >= 1
    assert step_names(viewer.get(page_of(ended))) == [
        "validate", "cool-off", "embed", "embed#2", "admin/child", "charge-card", "send-receipt",
    ]  # fmt: skip
    for word in ("sleep", "parallel", "child task"):
        assert f'<span class="tq-kind">{word}</span>' in body


def test_parent_and_child_link_to_each_other(viewer, ended):
    child = Task.objects.get(parent=ended)

    assert page_of(child) in viewer.get(page_of(ended)).content.decode()
    response = viewer.get(page_of(child))
    assert page_of(ended) in response.content.decode()
    assert "Child of" in text_of(response)
    assert "step admin/child" in text_of(response)


def test_an_unfinished_parallel_step_has_the_status_of_its_task(viewer):
    task = shop.pages.enqueue(3)
    with InProcessWorker() as worker:
        lease = take(worker.row.pk)
        settle(lease, execute_task(lease, activity=worker.activity, stopping=lambda: False), claim_request=None)
    parallel_tasks = list(Task.objects.filter(parent=task).order_by("pk"))
    assert len(parallel_tasks) == 3
    with InProcessWorker() as worker:
        Task.objects.filter(pk=parallel_tasks[0].pk).update(
            status="running", worker=worker.row, started_at=Now(), lease=1
        )
        worker.row.task_id, worker.row.step, worker.row.step_started_at = parallel_tasks[0].pk, "embed", Now()
        worker.row.save()
        Attempt.objects.create(
            task=parallel_tasks[1], step_key="embed#2", number=1, outcome="failed", error_type="IOError", lease=1,
            error_message="no paper", traceback="Traceback", started_at=Now(), finished_at=Now(),
        )  # fmt: skip
        with arranging():
            Task.objects.filter(pk=parallel_tasks[1].pk).update(status="retrying", due_at=Now(), sort_at=Now())
        response = viewer.get(page_of(task))

    rows = re.findall(r'>([^<>]+)</span>\s*<span class="tq-step-label"><span', response.content.decode())
    assert rows[:3] == ["Running", "Retrying", "Queued"]
    assert "IOError : no paper" in text_of(response)
    assert page_of(parallel_tasks[0]) not in response.content.decode()


@pytest.mark.parametrize(("what", "value"), [("payload", {"number": -1}), ("result", None)])
def test_payload_and_result_can_be_downloaded(viewer, ended, what, value):
    response = viewer.get(download_of(ended, what))

    if value is None:
        assert response.status_code == 404
        return
    assert json.loads(response.content) == value
    assert response["Content-Type"] == "application/json"
    assert response["Content-Disposition"] == f'attachment; filename="task-{ended.pk}-{what}.json"'


def test_a_large_output_is_cut_with_a_download_link(viewer, ended):
    step = Step.objects.get(task=ended, key="validate")
    Step.objects.filter(pk=step.pk).update(output="y" * 100_000 + "THE-END")

    response = viewer.get(page_of(ended))

    assert "THE-END" not in response.content.decode()
    assert "Showing the first 64.0 KB of 97.7 KB." in text_of(response)
    address = download_of(ended, f"output-{step.pk}")
    assert address in response.content.decode()
    assert viewer.get(address).content.decode().endswith('END"')


@pytest.mark.parametrize("written", ["{id}%0D", "%0A{id}", "{{{id}}}", "{ID}", "urn:uuid:{id}"])
def test_a_download_is_named_by_the_id_for_every_spelling(viewer, ended, written):
    # UUID() strips braces and signs when the digits without a leading zero leave room for them.
    names = {"id": ended.pk.hex.removeprefix("0"), "ID": str(ended.pk).upper()}
    response = viewer.get(f"/admin/taskqueue/task/{written.format(**names)}/download/payload/")

    assert response.status_code in {200, 404}
    if response.status_code == 200:
        assert response["Content-Disposition"] == f'attachment; filename="task-{ended.pk}-payload.json"'


def test_a_download_needs_permission_and_has_known_values_only(viewer, stranger, client, ended, queued):
    step = Step.objects.get(task=ended, key="validate")

    assert stranger.get(download_of(ended, "payload")).status_code == 403
    assert client.get(download_of(ended, "payload")).url.startswith("/admin/login/")
    assert viewer.post(download_of(ended, "payload")).status_code == 405
    for task, what in (
        (queued, f"output-{step.pk}"), (ended, "error"), (ended, "output-x"), (ended, f"key-{step.pk}"),
        (ended, "output-" + "9" * 40),
    ):  # fmt: skip
        assert viewer.get(download_of(task, what)).status_code == 404, what
    assert viewer.get("/admin/taskqueue/task/nonsense/download/payload/").status_code == 404


def test_of_many_steps_unfinished_failed_and_last_ones_are_shown(viewer, ended):
    Step.objects.filter(task=ended).delete()
    add_steps(ended, 300)
    Step.objects.filter(task=ended, key="page#7").update(status="failed", output=None, error={"type": "E"})
    for key in ("page#5", "page#7"):  # page#5 succeeded later, so its row is not shown
        Attempt.objects.create(
            task=ended, step_key=key, number=1, outcome="failed", error_type=f"E of {key}", lease=1, started_at=Now(),
            finished_at=Now(),
        )  # fmt: skip

    response = viewer.get(page_of(ended))

    assert "Showing 51 of 300 recorded steps: unfinished and failed ones, and the last ones." in text_of(response)
    names = step_names(response)
    assert names[0] == "page#7"
    assert names[1:51] == [f"page#{number}" for number in range(250, 300)]
    assert "E of page#7" in text_of(response)
    assert "page#5" not in names
    assert 'id="step-8"' in response.content.decode()
    whole = viewer.get(page_of(ended) + "?steps=all")
    assert step_names(whole)[:300] == [f"page#{number}" for number in range(300)]
    assert "Showing" not in text_of(whole)


def test_showing_all_steps_is_bounded_too(viewer, ended, monkeypatch):
    monkeypatch.setattr(page_queries, "MAX_STEPS", 20)
    monkeypatch.setattr(page_queries, "MAX_STEPS_IN_FULL", 30)
    add_steps(ended, 60)

    response = viewer.get(page_of(ended) + "?steps=all")

    assert "Showing 30 of 66 recorded steps: the last ones." in text_of(response)


def test_many_large_outputs_stay_below_a_page_limit(viewer, ended):
    add_steps(ended, 150, output="z" * 100_000)

    body = viewer.get(page_of(ended)).content

    assert len(body) < 2.5 * 1024 * 1024


def test_query_count_is_independent_of_steps_attempts_and_children(admin, ended):
    def queries() -> int:
        with CaptureQueriesContext(connection) as sent:
            assert admin.get(page_of(ended)).status_code == 200
        return len(sent)

    few = queries()
    add_steps(ended, 250)
    for number in range(2, 60):
        Attempt.objects.create(
            task=ended, step_key=f"page#{number}", number=1, outcome="failed", error_type="E", lease=1,
            traceback="t", logs={"dropped": 0, "lines": [[1, "INFO", "shop", "x"]]}, started_at=Now(),
            finished_at=Now(),
        )  # fmt: skip
    for number in range(5):
        child = shop.child.enqueue(number)
        Task.objects.filter(pk=child.pk).update(parent=ended, parent_key="x")

    assert queries() == few


def test_newer_and_older_link_to_neighbours(viewer):
    first, second, third = (shop.child.enqueue(number) for number in range(3))

    middle = viewer.get(page_of(second)).content.decode()
    assert f'href="{page_of(third)}" title="The next newer task"' in middle
    assert f'href="{page_of(first)}" title="The next older task"' in middle
    assert "There is no newer task." in viewer.get(page_of(third)).content.decode()
    assert "There is no older task." in viewer.get(page_of(first)).content.decode()


def test_regions_are_live_until_the_task_ends(viewer, ended):
    going = shop.child.enqueue(1)

    waiting = viewer.get(page_of(going)).content.decode()
    with InProcessWorker() as worker:
        Task.objects.filter(pk=going.pk).update(status="running", worker=worker.row, started_at=Now())
        running = viewer.get(page_of(going)).content.decode()
    over = viewer.get(page_of(ended)).content.decode()

    assert 'data-live data-every="5"' in waiting
    assert 'data-live data-every="2"' in running
    assert "data-live" not in over
    assert set(re.findall(r'data-region="(\w+)"', running)) >= {
        "state", "actions", "details", "problem", "steps", "result", "history",
    }  # fmt: skip


def test_the_waterfall_has_a_now_line_until_the_end(viewer, ended):
    going = shop.child.enqueue(1)

    assert 'class="tq-now"' in viewer.get(page_of(going)).content.decode()
    assert 'class="tq-now"' not in viewer.get(page_of(ended)).content.decode()


def test_a_cancel_reason_is_shown_and_audited(operator):
    task = shop.order.enqueue(1)
    assert "Cancel this task?" in text_of(operator.get(page_of(task)))

    response = operator.post(button_of(task, "cancel"), {"reason": " ordered twice " + "x" * 400}, follow=True)

    text = text_of(response)
    assert "Cancel reason ordered twice" in text
    assert "olga Cancelled; it was queued. Reason: ordered twice" in text
    assert "Cancel this task?" not in text


def test_the_page_has_no_inline_style_or_script(viewer, ended):
    body = viewer.get(page_of(ended)).content.decode()
    main = body[body.index('id="content-main"') :]

    assert not re.search(r"\sstyle=|\son\w+=|<script", main)


def test_a_task_retried_after_days_still_shows_its_steps(viewer, ended):
    advance(days=3)
    control.retry(ended.pk)
    work()

    body = viewer.get(page_of(ended)).content.decode()

    assert "2d" in re.findall(r"<text[^>]*>([^<]+)</text>", body)
