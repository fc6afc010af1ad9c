"""Bulk actions of the task list: on the selected rows at once, on all matching tasks through a bulk operation."""

from __future__ import annotations

from functools import partial
from typing import Any, Final
from uuid import UUID

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect

from taskqueue.admin.bulk_operations.confirm import DONE
from taskqueue.admin.search.parameters import PARAMETERS
from taskqueue.admin.shared import formats, task_actions
from taskqueue.admin.shared.links import view_url
from taskqueue.admin.shared.pages import admin_page
from taskqueue.admin.task import repeated_steps
from taskqueue.admin.task.actions import allowed_actions
from taskqueue.admin.task.confirm import CONFIRMED
from taskqueue.admin.tasks import export
from taskqueue.engine.access.permissions import CallerPermissions
from taskqueue.engine.maintenance.bulk_operations import CONSEQUENCES, ELIGIBLE, REQUIRED_ACTION
from taskqueue.engine.tasks import control
from taskqueue.models import Task
from taskqueue.states import BulkOperationVerb

ALL_SELECTED = "select_across"
SELECTED = "_selected_action"


def run_bulk_action(model_admin: Any, request: HttpRequest, run: Any, verb: BulkOperationVerb) -> HttpResponse | None:
    """Run an audited action on each selected task, and report how many it changed.

    "Select all" redirects to the form of a bulk operation; repeated steps ask for confirmation first.
    """
    if request.POST.get(ALL_SELECTED) == "1":
        return HttpResponseRedirect(f"{view_url('bulkoperation', 'new', verb.value)}?{list_query(request)}")
    # The ids come from the form, so that a task that has left the filter since is included.
    selected = [task_id for text in request.POST.getlist(SELECTED) if (task_id := parse_id(text))]
    if len(selected) > task_actions.MAX_TASKS:
        message = f"Nothing was {DONE[verb]}: select at most {task_actions.MAX_TASKS} tasks at a time."
        model_admin.message_user(request, message, messages.ERROR)
        return None
    if (page := confirmation(model_admin, request, verb, selected)) is not None:
        return page
    rights = CallerPermissions(request.user)
    rights.load_all()
    permitted = task_actions.require_permission(
        partial(run, actor=task_actions.actor_of(request)), REQUIRED_ACTION[verb], rights
    )
    counts = task_actions.run_for_each(sorted(selected, reverse=True), permitted)
    level = messages.WARNING if counts.refused else messages.SUCCESS
    model_admin.message_user(request, counts.sentence(DONE[verb]), level)
    return None


def confirmation(
    model_admin: Any, request: HttpRequest, verb: BulkOperationVerb, selected: list[UUID]
) -> HttpResponse | None:
    """The page that lists the repeated steps; None once confirmed, or when at most one step is repeated."""
    if verb == BulkOperationVerb.CANCEL or CONFIRMED in request.POST:
        return None
    pipelines = repeated_steps.of_tasks(verb, selected)
    calls = sum(repeated.calls for repeated in pipelines)
    if not pipelines or (verb == BulkOperationVerb.RETRY and calls <= 1):
        return None
    tasks = formats.count_of(sum(repeated.tasks for repeated in pipelines), "task")
    context = {
        "verb": verb,
        "tasks": tasks,
        "consequence": CONSEQUENCES[verb],
        "pipelines": pipelines,
        "selected": selected,
        "action": request.POST.get("action", ""),
        "list_address": request.get_full_path(),
    }
    return admin_page(model_admin, request, "task/confirm_many.html", f"{verb.capitalize()} {tasks}", context)


def links(model_admin: Any, request: HttpRequest) -> dict[str, Any]:
    """Context of the list: the links to bulk operations on all matching tasks, and to the exports."""
    allowed = allowed_actions(model_admin, request)
    return {
        "filter_query": list_query(request),
        "verbs": [
            {"label": verb.words.capitalize(), "address": view_url("bulkoperation", "new", verb.value)}
            for verb in BulkOperationVerb
            if verb.name.lower() in allowed and applies(verb, request)
        ],
        "exports": export.links(),
    }


def drop_invalid_ids(request: HttpRequest) -> None:
    """Remove selected values that are no ids; Django would look them up and fail."""
    sent = request.POST.copy()
    sent.setlist(SELECTED, [text for text in sent.getlist(SELECTED) if parse_id(text)])
    request.POST = sent  # type: ignore[assignment]  # a copy is the same type, but mutable


def parse_id(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None


def list_query(request: HttpRequest) -> str:
    """The query string of the list's filters and search; empty without any."""
    query = request.GET.copy()
    for name in list(query):
        if name not in PARAMETERS or not query[name]:
            del query[name]
    return query.urlencode()


def applies(verb: BulkOperationVerb, request: HttpRequest) -> bool:
    statuses = set(filter(None, request.GET.get("status", "").split(",")))
    return not statuses or not statuses.isdisjoint(ELIGIBLE.get(verb, statuses))


def action_of(verb: BulkOperationVerb, run: Any, description: str) -> Any:
    """The list's action that does this to the selected tasks."""
    name = verb.name.lower()

    @admin.action(description=description, permissions=[name])
    def action(model_admin: Any, request: HttpRequest, _queryset: QuerySet[Task]) -> HttpResponse | None:
        return run_bulk_action(model_admin, request, run, verb)

    action.__name__ = f"{name}_selected"
    return action


ACTIONS: Final = (
    action_of(BulkOperationVerb.RETRY, control.retry, "Retry selected tasks"),
    action_of(BulkOperationVerb.RUN_NOW, control.run_now, "Run selected tasks now"),
    action_of(BulkOperationVerb.CANCEL, control.cancel, "Cancel selected tasks"),
    action_of(BulkOperationVerb.RERUN, control.rerun, "Rerun selected tasks"),
)
