"""Retry, cancel and rerun, by button and in bulk: who may, what happens, and what is written down."""

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
from taskqueue.engine.maintenance.bulk_operations import NOWHERE
from taskqueue.engine.tasks import control
from taskqueue.models import Attempt, BulkOperation, Step, Task
from taskqueue.testing import advance, work
from tests.support.admin_pages import LIST, button_of, messages_of, page_of, text_of
from tests.support.users import client_of

NOUNS = ["retry", "run_now", "cancel", "rerun"]


def reload(task: Task) -> Task:
    return Task.objects.get(pk=task.pk)


def log() -> list[tuple[str, str, str]]:
    """Who did what to which task, in order."""
    entries = LogEntry.objects.order_by("pk").select_related("user")
    return [(entry.user.get_username(), entry.object_id or "", entry.get_change_message()) for entry in entries]


def act(client: Client, action: str, *tasks: Task, **more: str):
    ticked = {"action": action, "_selected_action": [str(task.pk) for task in tasks], "confirmed": "1"}
    return client.post(LIST, {**ticked, **more}, follow=True)


@pytest.mark.parametrize("noun", NOUNS)
def test_a_button_needs_its_right_and_a_post(noun, client, viewer, stranger, operator, failed):
    address = button_of(failed, noun)

    assert client.post(address).url.startswith("/admin/login/")
    assert stranger.post(address).status_code == 403
    assert viewer.post(address).status_code == 403
    assert operator.get(address).status_code == (405 if noun in {"cancel", "run_now"} else 200)
    assert reload(failed).status == "failed"
    assert log() == []


@pytest.mark.parametrize("noun", NOUNS)
def test_the_right_to_act_is_worth_nothing_without_the_right_to_view(noun, failed):
    blind = client_of("bert", "retry_task", "cancel_task", "add_task")

    assert blind.post(button_of(failed, noun)).status_code == 403


@pytest.mark.parametrize("noun", NOUNS)
def test_a_button_needs_its_csrf_token(noun, operator, failed):
    strict = Client(enforce_csrf_checks=True)
    strict.cookies = operator.cookies

    assert strict.post(button_of(failed, noun)).status_code == 403


def test_a_viewer_sees_no_buttons_and_no_actions(viewer, failed):
    page = viewer.get(page_of(failed)).content.decode()

    assert "tq-button" not in page
    assert 'name="action"' not in viewer.get(LIST).content.decode()


def test_each_right_shows_its_own_button(failed):
    canceller = client_of("carl", "view_task", "cancel_task")

    page = text_of(canceller.get(page_of(failed)))

    assert "Cancel" in page
    assert "Retry from" not in page
    assert "Rerun" not in page


def test_retrying_keeps_the_finished_steps_and_is_written_down(operator, failed):
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


def test_a_step_offers_a_retry_from_there_with_its_consequence(operator, failed):
    text = text_of(operator.get(page_of(failed)))

    assert (
        "Retry from “simulate-processing” Keeps no output, runs simulate-processing and the 2 after it again." in text
    )
    assert "Retry from “simulate-api-call” Keeps the 2 earlier step outputs, runs simulate-api-call again." in text


def test_retrying_from_a_step_forgets_it_and_what_came_after(operator, failed):
    response = operator.post(button_of(failed, "retry"), {"from_step": "simulate-delay", "confirmed": "1"}, follow=True)

    assert messages_of(response) == ["The task is queued again, from step simulate-delay."]
    assert list(Step.objects.values_list("key", flat=True)) == ["simulate-processing"]
    assert log() == [("olga", str(failed.pk), "Retried from step simulate-delay; it was failed.")]
    assert Attempt.objects.count() == 1


def test_retrying_from_a_step_that_is_not_there_says_so(operator, failed):
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


def test_running_a_retrying_task_now_queues_it_and_is_written_down(operator, retrying):
    response = operator.post(button_of(retrying, "run_now"), follow=True)

    assert messages_of(response) == ["The task is due now."]
    assert reload(retrying).status == "queued"
    assert log() == [("olga", str(retrying.pk), "Run now; it was retrying.")]


def test_a_task_that_is_due_already_cannot_be_run_now(operator, queued):
    assert 'title="The task is queued: it is due already." disabled' in operator.get(page_of(queued)).content.decode()

    response = operator.post(button_of(queued, "run_now"), follow=True)

    assert messages_of(response) == ["Cannot run it now: The task is queued: it is due already."]
    assert log() == []


def test_running_several_now_gives_an_exact_account(operator, failed, retrying):
    response = act(operator, "run_now_selected", failed, retrying)

    sentence = "The task is failed: it has ended. Retry it instead."
    assert messages_of(response) == [f"1 task run now. 1 task not run now: {sentence}"]
    assert reload(retrying).status == "queued"


def test_cancelling_a_queued_task_ends_it_and_is_written_down(operator, queued):
    response = operator.post(button_of(queued, "cancel"), follow=True)

    assert messages_of(response) == ["The task is cancelled."]
    assert reload(queued).status == "cancelled"
    assert log() == [("olga", str(queued.pk), "Cancelled; it was queued.")]


def test_cancelling_a_task_that_has_moved_on_stays_on_its_page_and_says_what_it_is_now(operator, queued):
    work()

    response = operator.post(button_of(queued, "cancel"), follow=True)

    assert response.redirect_chain == [(page_of(queued), 302)]
    assert messages_of(response) == ["Cannot cancel: the task is now succeeded."]
    assert log() == []


def test_buttons_that_do_not_apply_stay_and_say_why(operator, succeeded, queued):
    page_of_queued = operator.get(page_of(queued)).content.decode()
    page_of_succeeded = operator.get(page_of(succeeded)).content.decode()

    assert 'title="The task is queued: it has not ended." disabled' in page_of_queued
    assert 'title="The task is succeeded: it has ended." disabled' in page_of_succeeded


def test_rerunning_makes_a_new_task_and_is_written_down_on_both(operator, succeeded):
    response = operator.post(button_of(succeeded, "rerun"), {"confirmed": "1"}, follow=True)

    copy = Task.objects.get(rerun_of=succeeded)
    assert response.redirect_chain == [(page_of(copy), 302)]
    assert copy.payload == succeeded.payload
    assert log() == [
        ("olga", str(succeeded.pk), f"Reran as {copy.pk}."),
        ("olga", str(copy.pk), f"Made as a rerun of {succeeded.pk}."),
    ]


def test_rerunning_a_task_whose_code_is_gone_says_so(operator, succeeded, pipeline_without_code):
    Task.objects.filter(pk=succeeded.pk).update(pipeline=pipeline_without_code)

    response = operator.post(button_of(succeeded, "rerun"), {"confirmed": "1"}, follow=True)

    assert messages_of(response)[0].startswith("Cannot rerun: ")
    assert "gone/away" in messages_of(response)[0]
    assert log() == []


@pytest.mark.parametrize("noun", NOUNS)
def test_a_button_of_a_task_that_is_gone_leads_to_the_list(operator, noun):
    for known in ("00000000-0000-7000-8000-000000000000", "nonsense"):
        response = operator.post(f"{LIST}{known}/{noun}/", follow=True)

        assert response.redirect_chain == [(LIST, 302)]
        assert messages_of(response) == [f"There is no task {known}. Ended tasks may have been pruned."]


def test_cancelling_several_gives_an_exact_account(operator, failed, retrying):
    response = act(operator, "cancel_selected", failed, retrying)

    assert messages_of(response) == ["1 task cancelled. 1 task not cancelled: the task is now failed."]
    assert reload(retrying).status == "cancelled"
    assert log() == [("olga", str(retrying.pk), "Cancelled; it was retrying.")]


def test_retrying_several_gives_an_exact_account(operator, failed, retrying, admin):
    cancelled = control.cancel(retrying.pk)

    response = act(operator, "retry_selected", failed, cancelled)

    assert messages_of(response) == ["2 tasks retried."]
    assert {entry[2] for entry in log()} == {"Retried; it was failed.", "Retried; it was cancelled."}


def test_when_all_are_refused_nothing_is_said_to_be_done(operator, failed):
    response = act(operator, "cancel_selected", failed)

    assert messages_of(response) == ["1 task not cancelled: the task is now failed."]


def test_an_action_is_refused_to_those_without_its_right(viewer, failed):
    act(viewer, "retry_selected", failed)

    assert reload(failed).status == "failed"


def test_one_request_changes_a_bounded_number_of_tasks(operator, monkeypatch, failed, retrying):
    monkeypatch.setattr(task_actions, "LIMIT", 1)

    response = act(operator, "cancel_selected", failed, retrying)

    assert messages_of(response) == ["Nothing was cancelled: select at most 1 tasks at a time."]
    assert reload(retrying).status == "retrying"


def test_rerunning_several_makes_as_many_new_tasks(operator, failed, succeeded):
    response = act(operator, "rerun_selected", failed, succeeded)

    assert messages_of(response) == ["2 tasks rerun."]
    assert set(Task.objects.filter(rerun_of__isnull=False).values_list("rerun_of", flat=True)) == {
        failed.pk,
        succeeded.pk,
    }


def test_a_ticked_task_that_has_left_the_filter_is_accounted_for(operator, failed, retrying):
    control.retry(failed.pk)

    response = operator.post(
        f"{LIST}?status=failed", {"action": "retry_selected", "_selected_action": [str(failed.pk), "x"]}, follow=True
    )

    assert messages_of(response) == ["1 task not retried: the task is now queued."]


def test_all_that_match_are_looked_at_before_anything_is_done_to_them(operator, failed):
    response = operator.post(
        f"{LIST}?status=failed&p=1",
        {"action": "retry_selected", "_selected_action": [str(failed.pk)], "select_across": "1"},
    )

    assert response.url == "/admin/taskqueue/bulkoperation/new/retry/?status=failed"
    assert reload(failed).status == "failed"


def operate(client: Client, verb: str, **sent: str) -> BulkOperation:
    """An operation over what failed or is queued, from its start to its end."""
    client.post(f"/admin/taskqueue/bulkoperation/new/{verb}/?pipeline=demo%2Ftask", sent)
    bulk_operations.run_batches()
    return BulkOperation.objects.latest("pk")


@pytest.mark.parametrize(
    ("verb", "said"),
    [
        ("retry", "olga Retried 1 task, this one among them. Reason: the bank is back just now"),
        ("cancel", "olga Cancelled 1 task, this one among them. Reason: the bank is back just now"),
    ],
)
def test_a_task_tells_of_the_operation_that_it_was_a_part_of(viewer, operator, failed, verb, said):
    if verb == "cancel":
        control.retry(failed.pk)
    operation = operate(operator, verb, reason="the bank is back")
    address = f"/admin/taskqueue/bulkoperation/{operation.pk}/change/"

    page, looked_at = operator.get(page_of(failed)), viewer.get(page_of(failed))

    assert said in text_of(page)
    assert f'<a href="{address}">' in page.content.decode()
    assert said in text_of(looked_at)
    assert address not in looked_at.content.decode()


def test_a_rerun_tells_of_the_operation_that_made_it(operator, failed):
    operate(operator, "rerun")

    rerun = Task.objects.get(rerun_of=failed)

    assert "olga Rerun 1 task, this one among them. just now" in text_of(operator.get(page_of(rerun)))


def test_what_was_done_by_hand_is_not_told_of_an_operation_too(operator, failed):
    operate(operator, "retry")
    work()
    BulkOperation.objects.update(finished_at=Now() + timedelta(hours=1))
    advance(minutes=1)

    operator.post(button_of(failed, "retry"))

    text = text_of(operator.get(page_of(failed)))
    assert "olga Retried; it was failed. just now" in text
    assert "this one among them" not in text


def test_an_operation_on_other_tasks_is_not_told(operator, failed):
    operation = operate(operator, "retry")
    for other in ({"position": NOWHERE}, {"until": NOWHERE}, {"selection": {"pipeline": "demo/publish"}}):
        before = {name: getattr(operation, name) for name in other}
        BulkOperation.objects.update(**other)
        text = text_of(operator.get(page_of(failed)))
        assert "It was retried by nobody who was logged in or had a token, or by an operation" in text
        BulkOperation.objects.update(**before)
    assert "this one among them" in text_of(operator.get(page_of(failed)))


def test_to_find_them_takes_one_query_however_many_there_are(operator, failed, django_assert_num_queries):
    operate(operator, "retry")
    with CaptureQueriesContext(connection) as one:
        operator.get(page_of(failed))
    number = len(one)
    assert sum('FROM "taskqueue_bulkoperation"' in query["sql"] for query in one) == 1
    for _ in range(5):
        operate(operator, "retry")

    with django_assert_num_queries(number):
        operator.get(page_of(failed))
