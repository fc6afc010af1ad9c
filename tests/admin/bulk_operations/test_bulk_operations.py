"""Bulk operations in the admin: confirmation, permissions, progress, abort, and log entries."""

from __future__ import annotations

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Group
from django.test import Client

from demo.pipelines import DemoRequest, demo_task
from taskqueue.admin.bulk_operations import confirm
from taskqueue.engine.access.actor import Actor
from taskqueue.engine.maintenance import bulk_operations
from taskqueue.engine.queries import filters
from taskqueue.models import BulkOperation, PipelinePermission, Task
from taskqueue.states import BulkOperationVerb
from taskqueue.testing import work
from tests.support.admin_pages import LIST, messages_of, text_of
from tests.support.users import client_of

OPERATIONS = "/admin/taskqueue/bulkoperation/"


def new(verb: str, query: str = "status=failed") -> str:
    return f"{OPERATIONS}new/{verb}/?{query}"


def page_of(operation: BulkOperation) -> str:
    return f"{OPERATIONS}{operation.pk}/change/"


def start(client: Client, verb: str = "retry", query: str = "status=failed", **sent: str) -> BulkOperation:
    response = client.post(new(verb, query), sent)
    operation = BulkOperation.objects.get()
    assert response["Location"] == page_of(operation), text_of(response)
    return operation


def log() -> list[tuple[str, str]]:
    entries = LogEntry.objects.order_by("pk").select_related("user")
    return [(entry.user.get_username(), entry.get_change_message()) for entry in entries]


@pytest.mark.parametrize("verb", ["retry", "run-now", "cancel", "rerun"])
def test_a_bulk_operation_needs_its_permission(verb, client, viewer, stranger, failed):
    query = "status=failed,queued,retrying"

    assert client.get(new(verb, query)).url.startswith("/admin/login/")
    for user in (viewer, stranger):
        assert user.get(new(verb, query)).status_code == 403
        assert user.post(new(verb, query)).status_code == 403
    assert not BulkOperation.objects.exists()


def test_each_permission_is_for_its_verb(failed):
    retrier = client_of("rosa", "view_task", "retry_task")

    assert retrier.get(new("retry")).status_code == 200
    assert retrier.get(new("cancel", "status=queued")).status_code == 403
    assert client_of("bert", "retry_task").get(new("retry")).status_code == 403


def test_the_task_list_links_to_the_possible_operations(operator, viewer, failed):
    page = operator.get(LIST, {"status": "failed"}).content.decode()

    assert f'href="{OPERATIONS}new/retry/?status=failed">Retry all that match…' in page
    assert "Cancel all that match" not in page  # all of them have ended
    assert "all that match" not in operator.get(LIST).content.decode()
    assert "all that match" not in viewer.get(LIST, {"status": "failed"}).content.decode()


def test_the_confirmation_shows_count_and_consequence(operator, failed, retrying):
    text = text_of(operator.get(new("retry", "pipeline=demo/task")))

    assert "1 task of the list “ pipeline demo/task ” can be retried." in text
    assert "Queues each task again and keeps the results of its finished steps." in text
    assert not BulkOperation.objects.exists()


def test_starting_an_operation_stores_user_reason_and_one_log_entry(operator, failed):
    operation = start(operator, reason="  the bank\nis back ")

    assert (operation.verb, operation.query, operation.started_by) == ("retry", "status=failed", "olga")
    assert (operation.estimate, operation.reason) == (1, "the bank is back")
    assert log() == [("olga", "Retry 1 task: status failed. Reason: the bank is back")]
    bulk_operations.run_batches()
    assert Task.objects.get(pk=failed.pk).status == "queued"
    assert len(log()) == 1


def test_workers_process_an_operation(operator, failed):
    operation = start(operator)

    work()

    operation.refresh_from_db()
    assert (operation.status, operation.changed) == ("done", 1)
    assert text_of(operator.get(page_of(operation))).count("1 of 1 task processed: 1 retried") == 1


@pytest.mark.parametrize(
    ("verb", "query", "sentence"),
    [
        ("retry", "", "Without a filter this would be done to all tasks. Narrow the list first."),
        ("retry", "p=2", "Without a filter this would be done to all tasks."),
        ("retry", "status=queued", "None of these tasks can be done: only one that is failed or cancelled."),
        ("cancel", "status=failed", "None of these tasks can be done"),
        ("retry", "status=done", "A filter has an invalid value."),
        ("retry", "q=errors:x", "There is no qualifier errors:."),
        ("retry", "q=payload.a:x", "You may not see payloads"),
    ],
)
def test_an_impossible_operation_is_refused_with_its_reason(operator, failed, verb, query, sentence):
    for response in (operator.get(new(verb, query), follow=True), operator.post(new(verb, query), follow=True)):
        (message,) = messages_of(response)
        assert message.startswith("The operation was not started. ")
        assert sentence in message
    assert not BulkOperation.objects.exists()


def test_retrying_tasks_are_run_now(operator, failed, retrying):
    page = text_of(operator.get(new("run-now", "status=retrying,waiting")))
    assert "Run now 1 task" in page

    operation = start(operator, "run-now", "status=retrying,waiting")
    bulk_operations.run_batches()

    assert Task.objects.get(pk=retrying.pk).status == "queued"
    assert "Run now 1 task" in text_of(operator.get(page_of(operation)))
    assert log() == [("olga", "Run now 1 task: status retrying,waiting.")]


def test_an_unknown_verb_is_a_404(operator):
    assert operator.get(new("delete")).status_code == 404


def test_a_large_operation_needs_a_reason_and_the_typed_verb(operator, failed, retrying, monkeypatch):
    monkeypatch.setattr(confirm, "LARGE", 0)
    assert 'name="confirmation"' in operator.get(new("retry")).content.decode()

    for reason, confirmation in (("", ""), ("", "retry"), ("x", ""), ("x", "yes")):
        page = operator.post(new("retry"), {"reason": reason, "confirmation": confirmation}).content.decode()
        assert "errorlist" in page
        assert f'value="{reason}"' in page
        assert not BulkOperation.objects.exists()

    start(operator, reason="x", confirmation=" Retry ")


def test_a_small_operation_needs_no_confirmation(operator, failed):
    assert 'name="confirmation"' not in operator.get(new("retry")).content.decode()
    start(operator)


def test_an_estimate_shows_where_counting_stopped(operator, monkeypatch):
    monkeypatch.setattr(filters, "COUNT_LIMIT", 2)
    monkeypatch.setattr(confirm, "COUNT_LIMIT", 2)
    for _ in range(4):
        demo_task.enqueue(DemoRequest(label="many"))

    assert "2+ tasks of the list" in text_of(operator.get(new("cancel", "status=queued")))


def test_a_relative_filter_counts_from_the_start_of_the_operation(operator, failed):
    operation = start(operator, query="created=1h&status=failed")

    assert "age" not in operation.selection
    assert operation.selection["statuses"] == ["failed"]
    assert operation.selection["created_after"]


def test_a_running_operation_can_be_aborted_once(operator, failed):
    operation = start(operator)
    assert "Abort" in text_of(operator.get(page_of(operation)))
    abort = f"{OPERATIONS}{operation.pk}/abort/"

    response = operator.post(abort, follow=True)
    assert messages_of(response) == ["The operation is aborted, after 0 tasks."]
    assert "Aborted by olga." in text_of(response)
    assert ">Abort</button>" not in response.content.decode()
    again = operator.post(abort, follow=True)
    assert messages_of(again) == ["The operation is aborted; there is nothing to abort."]
    assert log()[1:] == [("olga", "Aborted after 0 tasks.")]
    work()
    assert Task.objects.get(pk=failed.pk).status == "failed"


def test_aborting_needs_the_permission_of_the_verb(operator, viewer, failed):
    operation = start(operator)
    canceller = client_of("carl", "view_task", "cancel_task")

    for user in (viewer, canceller):
        assert user.post(f"{OPERATIONS}{operation.pk}/abort/").status_code == 403
    assert operator.get(f"{OPERATIONS}{operation.pk}/abort/").status_code == 405
    assert ">Abort</button>" not in canceller.get(page_of(operation)).content.decode()


def test_the_list_shows_status_action_filter_and_user(operator, viewer, failed):
    operation = start(operator, query="status=failed&pipeline=demo%2Ftask")
    bulk_operations.run_batches()

    response = operator.get(OPERATIONS)
    text = text_of(response)

    assert "Done Retry 1 task status failed, pipeline demo/task olga" in text
    assert f'href="{LIST}?status=failed&amp;pipeline=demo%2Ftask"' in response.content.decode()
    assert f'href="{page_of(operation)}' in response.content.decode()
    assert viewer.get(OPERATIONS).status_code == 403
    reader = client_of("walt", "view_bulkoperation")
    assert "Retry 1 task" in text_of(reader.get(page_of(operation)))


def test_adding_and_deleting_are_refused(admin, operator, failed):
    operation = start(operator)

    assert admin.get(f"{OPERATIONS}add/").status_code == 403
    assert admin.get(f"{OPERATIONS}{operation.pk}/delete/").status_code == 403


def test_an_unknown_operation_is_reported(operator):
    for unknown in ("00000000-0000-7000-8000-000000000000", "nonsense"):
        response = operator.get(f"{OPERATIONS}{unknown}/change/", follow=True)
        assert messages_of(response) == [f"There is no operation {unknown}."]
    assert operator.post(f"{OPERATIONS}00000000-0000-7000-8000-000000000000/abort/").status_code == 404


def test_refusals_are_shown_with_their_reasons(operator, failed):
    operation = start(operator)
    BulkOperation.objects.update(processed=3, changed=1, skipped=1, failed=1, refusals={"<b>It moved on</b>": 2})

    page = operator.get(page_of(operation)).content.decode()

    assert "3 of 1 task processed: 1 retried, 1 skipped, 1 failed." in page
    assert "2 \N{MULTIPLICATION SIGN} &lt;b&gt;It moved on&lt;/b&gt;" in page


def test_the_list_needs_a_fixed_number_of_queries(admin, operator, failed, django_assert_num_queries):
    start(operator)
    with django_assert_num_queries(4):  # session, user, count, operations
        admin.get(OPERATIONS)
    for _ in range(3):
        operator.post(new("retry"))
    with django_assert_num_queries(4):
        admin.get(OPERATIONS)


def test_payload_values_of_a_filter_need_view_task_payload(failed):
    query = "q=payload.number%3A41111111+error%3AStep+Payload.a.b%3A%22two+words%22"
    finder = client_of("finn", "view_task", "retry_task", "view_task_payload", "view_bulkoperation")
    other = client_of("otto", "view_task", "view_bulkoperation")
    selection = filters.TaskFilter(statuses=("failed",))
    operation = bulk_operations.plan(
        selection, verb=BulkOperationVerb.RETRY, query=query, reason="", actor=Actor(None, "finn")
    )
    pages = (OPERATIONS, f"{OPERATIONS}{operation.pk}/change/")

    for page in pages:
        shown = other.get(page).content.decode()
        assert "search payload.number:********** error:Step Payload.a.b:**********" in shown, page
        assert "41111111" not in shown, page
        assert "two words" not in shown.replace("+", " "), page
        assert "41111111" in finder.get(page).content.decode(), page

    group = Group.objects.create(name="others")
    PipelinePermission.objects.create(pipeline_id="demo/task", group=group)
    assert "41111111" not in finder.get(pages[0]).content.decode()


def test_a_log_entry_has_no_payload_values(failed):
    finder = client_of("finn", "view_task", "retry_task", "view_task_payload")
    number = failed.payload["label"]

    start(finder, query=f"status=failed&q=payload.label:{number}")

    (entry,) = LogEntry.objects.all()
    assert "search payload.label:**********" in entry.get_change_message()
    assert number not in entry.get_change_message()
