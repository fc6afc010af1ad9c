"""The verbs retry, cancel, run-now and bulk, over HTTP and inside the project, and their audit entries."""

from __future__ import annotations

from datetime import timedelta

from django.contrib.admin.models import LogEntry
from django.utils import timezone

from taskqueue.models import Task
from taskqueue.testing import work
from tests.support.api import enqueue_order


def status_of(task):
    return Task.objects.get(pk=task.pk).status


def audit():
    return [(entry.user.get_username(), entry.get_change_message()) for entry in LogEntry.objects.order_by("pk")]


def test_retry_queues_a_failed_task_with_an_audit_entry(cli, failed):
    result = cli("retry", failed.pk)

    assert (result.code, result.out) == (0, f"{failed.pk}  queued\n")
    assert audit() == [(cli.actor, f"Retried; it was failed.{cli.token}")]
    work()
    assert status_of(failed) == "succeeded"


def test_retry_from_a_step_runs_it_again(cli, succeeded):
    assert cli("retry", succeeded.pk).code == 1
    assert cli("retry", succeeded.pk, "--from-step", "charge").code == 0

    assert audit() == [(cli.actor, f"Retried from step charge; it was succeeded.{cli.token}")]


def test_cancel_keeps_the_reason(cli, queued):
    assert cli("cancel", queued.pk, "--reason", "Wrong customer").code == 0

    assert Task.objects.get().cancel_reason == "Wrong customer"
    assert audit() == [(cli.actor, f"Cancelled; it was queued. Reason: Wrong customer{cli.token}")]


def test_run_now_makes_a_scheduled_task_due(cli):
    task = enqueue_order("later", run_at=timezone.now() + timedelta(hours=1))

    assert cli("run-now", task.pk).out == f"{task.pk}  queued\n"
    assert audit() == [(cli.actor, f"Run now; it was scheduled.{cli.token}")]


def test_change_sets_priority_start_and_labels(cli, queued):
    result = cli("change", queued.pk, "--priority", 60, "--run-at", "2h", "--label", "tenant=acme")

    task = Task.objects.get()
    assert (result.code, result.out) == (0, f"{task.pk}  scheduled\n")
    assert (task.priority, task.labels) == (60, {"tenant": "acme"})
    ((actor, text),) = audit()
    assert (actor, text.startswith("Changed priority from 0 to 60, start to ")) == (cli.actor, True)


def test_change_needs_something_to_change(cli, queued, succeeded):
    assert cli("change", queued.pk).code == 2
    refused = cli("change", succeeded.pk, "--priority", 1)
    assert (refused.code, "it has ended" in refused.err) == (1, True)


def test_a_refused_task_does_not_keep_others_from_the_action(cli, failed, queued):
    result = cli("retry", queued.pk, failed.pk, "--json")

    assert result.code == 1
    refused, retried = result.data["results"]
    assert (refused["error"]["code"], refused["task"]) == ("task-not-retryable", None)
    assert (retried["task"]["status"], retried["error"]) == ("queued", None)
    assert "Retried: 1, 1 refused." in result.err


def test_bulk_needs_a_filter(cli, failed):
    result = cli("bulk", "retry", "--yes")

    assert (result.code, result.out) == (2, "")
    assert "Add --pipeline, --status" in result.err
    assert status_of(failed) == "failed"


def test_only_a_cancel_has_a_reason(cli, failed):
    assert cli("bulk", "retry", "--status", "failed", "--reason", "x", "--yes").code == 2
    assert status_of(failed) == "failed"


def test_bulk_shows_what_it_would_do(cli, failed):
    shown = cli("bulk", "retry", "--pipeline", "shop/order", "--dry-run")
    asked = cli("bulk", "retry", "--pipeline", "shop/order")

    assert ([shown.code, asked.code], shown.out, asked.out) == ([0, 2], "", "")
    assert "1  failed     shop/order" in shown.err
    assert str(failed.pk) in shown.err
    assert "Add --yes to do it" in asked.err
    assert status_of(failed) == "failed"


def test_bulk_retries_only_failed_tasks_that_match(cli, failed, succeeded):
    other = enqueue_order("other", labels={"tenant": "acme"})

    result = cli("bulk", "retry", "--pipeline", "shop/order", "--yes")

    assert (result.code, result.out) == (0, f"{failed.pk}  queued\n")
    assert [status_of(each) for each in (failed, succeeded, other)] == ["queued", "succeeded", "queued"]
    assert audit() == [(cli.actor, f"Retried; it was failed.{cli.token}")]


def test_bulk_takes_at_most_the_limit(cli):
    tasks = [enqueue_order(str(number), labels={"tenant": "acme"}) for number in range(4)]

    result = cli("bulk", "cancel", "--label", "tenant=acme", "--limit", 3, "--reason", "Ended", "--yes", "--json")

    assert [each["task"]["status"] for each in result.data["results"]] == ["cancelled"] * 3
    assert [status_of(task) for task in tasks] == ["queued", "cancelled", "cancelled", "cancelled"]
    assert "Only the newest 3 that match" in result.err
    assert "Cancelled: 3." in result.err


def test_bulk_without_matches_changes_nothing(cli, queued):
    result = cli("bulk", "run-now", "--pipeline", "shop/order", "--yes")

    assert (result.code, result.out, status_of(queued)) == (0, "", "queued")
    assert "No tasks match." in result.err
