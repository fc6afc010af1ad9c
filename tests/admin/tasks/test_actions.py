"""Retry, run now, cancel and rerun, by button and in bulk: permissions, effects and audit entries."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.contrib.admin.models import LogEntry
from django.db import connection
from django.db.models.functions import Now
from django.test import Client
from django.test.utils import CaptureQueriesContext

from taskqueue.admin.shared import task_actions
from taskqueue.engine.maintenance import bulk_operations
from taskqueue.engine.tasks import control
from taskqueue.models import Attempt, BulkOperation, Step, Task
from taskqueue.testing import advance, work
from tests.support.admin_pages import LIST, button_of, messages_of, page_of, text_of
from tests.support.moves import arranging
from tests.support.users import client_of

DAY = timedelta(days=1)
ACTIONS = ["retry", "run_now", "cancel", "rerun"]


def reload(task: Task) -> Task:
    return Task.objects.get(pk=task.pk)


def log() -> list[tuple[str, str, str]]:
    """User, task and message of each audit entry, in order."""
    entries = LogEntry.objects.order_by("pk").select_related("user")
    return [(entry.user.get_username(), entry.object_id or "", entry.get_change_message()) for entry in entries]


def act(client: Client, action: str, *tasks: Task, **more: str):
    form = {"action": action, "_selected_action": [str(task.pk) for task in tasks], "confirmed": "1"}
    return client.post(LIST, {**form, **more}, follow=True)


@pytest.mark.parametrize("action", ACTIONS)
def test_a_button_needs_permission_and_post(action, client, viewer, stranger, operator, failed):
    address = button_of(failed, action)

    assert client.post(address).url.startswith("/admin/login/")
    assert stranger.post(address).status_code == 403
    assert viewer.post(address).status_code == 403
    assert operator.get(address).status_code == (405 if action in {"cancel", "run_now"} else 200)
    assert reload(failed).status == "failed"
    assert log() == []


@pytest.mark.parametrize("action", ACTIONS)
def test_an_action_needs_view_permission_too(action, failed):
    blind = client_of("bert", "retry_task", "cancel_task", "add_task")

    assert blind.post(button_of(failed, action)).status_code == 403


@pytest.mark.parametrize("action", ACTIONS)
def test_a_button_needs_its_csrf_token(action, operator, failed):
    strict = Client(enforce_csrf_checks=True)
    strict.cookies = operator.cookies

    assert strict.post(button_of(failed, action)).status_code == 403


def test_a_viewer_sees_no_buttons_and_no_actions(viewer, failed):
    page = viewer.get(page_of(failed)).content.decode()

    assert "tq-button" not in page
    assert 'name="action"' not in viewer.get(LIST).content.decode()


def test_each_permission_shows_its_own_button(failed):
    canceller = client_of("carl", "view_task", "cancel_task")

    page = text_of(canceller.get(page_of(failed)))

    assert "Cancel" in page
    assert "Retry from" not in page
    assert "Rerun" not in page


def test_a_retry_keeps_finished_steps_and_is_audited(operator, failed):
    response = operator.post(button_of(failed, "retry"), follow=True)

    assert response.redirect_chain == [(page_of(failed), 302)]
    assert messages_of(response) == ["The task is queued again."]
    assert reload(failed).status == "queued"
    assert list(Step.objects.order_by("pk").values_list("key", flat=True)) == [
        "simulate-processing",
        "simulate-delay",
    ]
    assert log() == [("olga", str(failed.pk), "Retried; it was failed.")]
    assert "olga Retried; it was failed. just now" in text_of(response)


def test_each_step_offers_a_retry_with_its_consequence(operator, failed):
    text = text_of(operator.get(page_of(failed)))

    assert (
        "Retry from “simulate-processing” Runs simulate-processing and the next 2 steps again; keeps no earlier result."
    ) in text
    assert "Retry from “simulate-api-call” Runs simulate-api-call again; keeps 2 earlier results." in text


def test_a_retry_from_a_step_forgets_it_and_later_steps(operator, failed):
    response = operator.post(button_of(failed, "retry"), {"from_step": "simulate-delay", "confirmed": "1"}, follow=True)

    assert messages_of(response) == ["The task is queued again, from step simulate-delay."]
    assert list(Step.objects.values_list("key", flat=True)) == ["simulate-processing"]
    assert log() == [("olga", str(failed.pk), "Retried from step simulate-delay; it was failed.")]
    assert Attempt.objects.count() == 1


def test_a_retry_from_an_unknown_step_is_refused(operator, failed):
    for step in ("no-such-step", "\0"):
        response = operator.post(button_of(failed, "retry"), {"from_step": f"x{step}"}, follow=True)

        assert messages_of(response)[0].startswith("Cannot retry: The task has recorded no step")
    assert log() == []


def test_a_succeeded_task_can_be_retried_from_a_step_only(operator, succeeded):
    page = operator.get(page_of(succeeded)).content.decode()
    assert 'title="The task has succeeded. Retry it from one of its steps, or rerun it." disabled' in page

    response = operator.post(button_of(succeeded, "retry"), follow=True)
    assert messages_of(response) == ["Cannot retry: the task is now succeeded."]

    operator.post(button_of(succeeded, "retry"), {"from_step": "return-result", "confirmed": "1"})
    assert reload(succeeded).status == "queued"


def test_run_now_queues_a_retrying_task_and_is_audited(operator, retrying):
    response = operator.post(button_of(retrying, "run_now"), follow=True)

    assert messages_of(response) == ["The task is due now."]
    assert reload(retrying).status == "queued"
    assert log() == [("olga", str(retrying.pk), "Run now; it was retrying.")]


def test_a_due_task_cannot_be_run_now(operator, queued):
    assert 'title="The task is queued: it is due already." disabled' in operator.get(page_of(queued)).content.decode()

    response = operator.post(button_of(queued, "run_now"), follow=True)

    assert messages_of(response) == ["Cannot run it now: The task is queued: it is due already."]
    assert log() == []


def test_bulk_run_now_reports_exact_counts(operator, failed, retrying):
    response = act(operator, "run_now_selected", failed, retrying)

    sentence = "The task is failed: it has ended. Retry it instead."
    assert messages_of(response) == [f"1 task run now. 1 task not run now: {sentence}"]
    assert reload(retrying).status == "queued"


def test_a_cancel_ends_a_queued_task_and_is_audited(operator, queued):
    response = operator.post(button_of(queued, "cancel"), follow=True)

    assert messages_of(response) == ["The task is cancelled."]
    assert reload(queued).status == "cancelled"
    assert log() == [("olga", str(queued.pk), "Cancelled; it was queued.")]


def test_a_refused_cancel_shows_the_present_status(operator, queued):
    work()

    response = operator.post(button_of(queued, "cancel"), follow=True)

    assert response.redirect_chain == [(page_of(queued), 302)]
    assert messages_of(response) == ["Cannot cancel: the task is now succeeded."]
    assert log() == []


def test_disabled_buttons_say_why(operator, succeeded, queued):
    page_of_queued = operator.get(page_of(queued)).content.decode()
    page_of_succeeded = operator.get(page_of(succeeded)).content.decode()

    assert 'title="The task is queued: it has not ended." disabled' in page_of_queued
    assert 'title="The task is succeeded: it has ended." disabled' in page_of_succeeded


def test_a_rerun_creates_a_task_and_is_audited_on_both(operator, succeeded):
    response = operator.post(button_of(succeeded, "rerun"), {"confirmed": "1"}, follow=True)

    copy = Task.objects.get(rerun_of=succeeded)
    assert response.redirect_chain == [(page_of(copy), 302)]
    assert copy.payload == succeeded.payload
    assert log() == [
        ("olga", str(succeeded.pk), f"Reran as {copy.pk}."),
        ("olga", str(copy.pk), f"Submitted as a rerun of {succeeded.pk}."),
    ]


def test_a_rerun_of_a_removed_pipeline_is_refused(operator, succeeded, pipeline_without_code):
    Task.objects.filter(pk=succeeded.pk).update(pipeline=pipeline_without_code)

    response = operator.post(button_of(succeeded, "rerun"), {"confirmed": "1"}, follow=True)

    assert messages_of(response)[0].startswith("Cannot rerun: ")
    assert "gone/away" in messages_of(response)[0]
    assert log() == []


@pytest.mark.parametrize("action", ACTIONS)
def test_a_button_of_a_missing_task_redirects_to_the_list(operator, action):
    for task_id in ("00000000-0000-7000-8000-000000000000", "nonsense"):
        response = operator.post(f"{LIST}{task_id}/{action}/", follow=True)

        assert response.redirect_chain == [(LIST, 302)]
        assert messages_of(response) == [f"There is no task {task_id}. Ended tasks may have been pruned."]


def test_bulk_cancel_reports_exact_counts(operator, failed, retrying):
    response = act(operator, "cancel_selected", failed, retrying)

    assert messages_of(response) == ["1 task cancelled. 1 task not cancelled: the task is now failed."]
    assert reload(retrying).status == "cancelled"
    assert log() == [("olga", str(retrying.pk), "Cancelled; it was retrying.")]


def test_bulk_retry_reports_exact_counts(operator, failed, retrying, admin):
    cancelled = control.cancel(retrying.pk)

    response = act(operator, "retry_selected", failed, cancelled)

    assert messages_of(response) == ["2 tasks retried."]
    assert {entry[2] for entry in log()} == {"Retried; it was failed.", "Retried; it was cancelled."}


def test_a_bulk_action_refused_for_all_reports_only_refusals(operator, failed):
    response = act(operator, "cancel_selected", failed)

    assert messages_of(response) == ["1 task not cancelled: the task is now failed."]


def test_a_bulk_action_needs_permission(viewer, failed):
    act(viewer, "retry_selected", failed)

    assert reload(failed).status == "failed"


def test_one_request_changes_a_bounded_number_of_tasks(operator, monkeypatch, failed, retrying):
    monkeypatch.setattr(task_actions, "MAX_TASKS", 1)

    response = act(operator, "cancel_selected", failed, retrying)

    assert messages_of(response) == ["Nothing was cancelled: select at most 1 tasks at a time."]
    assert reload(retrying).status == "retrying"


def test_bulk_rerun_creates_a_task_for_each(operator, failed, succeeded):
    response = act(operator, "rerun_selected", failed, succeeded)

    assert messages_of(response) == ["2 tasks rerun."]
    assert set(Task.objects.filter(rerun_of__isnull=False).values_list("rerun_of", flat=True)) == {
        failed.pk,
        succeeded.pk,
    }


def test_a_selected_task_outside_the_filter_is_counted(operator, failed, retrying):
    control.retry(failed.pk)

    response = operator.post(
        f"{LIST}?status=failed", {"action": "retry_selected", "_selected_action": [str(failed.pk), "x"]}, follow=True
    )

    assert messages_of(response) == ["1 task not retried: the task is now queued."]


def test_select_all_leads_to_the_bulk_operation_form(operator, failed):
    response = operator.post(
        f"{LIST}?status=failed&p=1",
        {"action": "retry_selected", "_selected_action": [str(failed.pk)], "select_across": "1"},
    )

    assert response.url == "/admin/taskqueue/bulkoperation/new/retry/?status=failed"
    assert reload(failed).status == "failed"


def operate(client: Client, verb: str, **sent: str) -> BulkOperation:
    """Run a bulk operation on all tasks of demo/task to its end."""
    client.post(f"/admin/taskqueue/bulkoperation/new/{verb}/?pipeline=demo%2Ftask", sent)
    bulk_operations.run_batches()
    return BulkOperation.objects.latest("pk")


@pytest.mark.parametrize(
    ("verb", "text"),
    [
        ("retry", "olga Retried 1 task, including this one. Reason: the bank is back just now"),
        ("cancel", "olga Cancelled 1 task, including this one. Reason: the bank is back just now"),
        ("run-now", "olga Run now 1 task, including this one. Reason: the bank is back just now"),
    ],
)
def test_the_activity_names_the_bulk_operation(viewer, operator, failed, verb, text):
    if verb != "retry":
        control.retry(failed.pk)
    if verb == "run-now":
        with arranging():
            Task.objects.filter(pk=failed.pk).update(status="scheduled", due_at=Now() + DAY, sort_at=Now() + DAY)
    operation = operate(operator, verb, reason="the bank is back")
    address = f"/admin/taskqueue/bulkoperation/{operation.pk}/change/"

    page, seen_by_viewer = operator.get(page_of(failed)), viewer.get(page_of(failed))

    assert text in text_of(page)
    assert f'<a href="{address}">' in page.content.decode()
    assert text in text_of(seen_by_viewer)
    assert address not in seen_by_viewer.content.decode()


def test_a_rerun_names_the_bulk_operation_that_created_it(operator, failed):
    operate(operator, "rerun")

    rerun = Task.objects.get(rerun_of=failed)

    assert "olga Rerun 1 task, including this one. just now" in text_of(operator.get(page_of(rerun)))


def test_a_bulk_operation_and_a_later_manual_action_are_both_listed(operator, failed):
    operate(operator, "retry")
    work()
    advance(minutes=1)

    operator.post(button_of(failed, "retry"))

    text = text_of(operator.get(page_of(failed)))
    assert "olga Retried; it was failed. just now" in text
    assert text.count("including this one") == 1


def test_an_operation_on_other_tasks_is_not_listed(operator, failed):
    operate(operator, "retry")
    Task.objects.filter(pk=failed.pk).update(bulk_operations=None)

    text = text_of(operator.get(page_of(failed)))
    assert "Retried without a login or token, or by an operation that has been pruned." in text
    assert "including this one" not in text


def test_finding_operations_takes_one_query(operator, failed, django_assert_num_queries):
    operate(operator, "retry")
    with CaptureQueriesContext(connection) as one:
        operator.get(page_of(failed))
    number = len(one)
    assert sum('FROM "taskqueue_bulkoperation"' in query["sql"] for query in one) == 1
    for _ in range(5):
        operate(operator, "retry")

    with django_assert_num_queries(number):
        operator.get(page_of(failed))
