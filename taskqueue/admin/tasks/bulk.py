"""What the task list lets people do to many tasks: to ticked rows at once, to all that match by an operation."""

from __future__ import annotations

from functools import partial
from typing import Any
from uuid import UUID

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse

from taskqueue.admin.bulk_operations.confirm import CONSEQUENCES, DONE
from taskqueue.admin.search.parameters import PARAMETERS
from taskqueue.admin.shared import formats, task_actions
from taskqueue.admin.shared.models import ReadOnlyAdmin
from taskqueue.admin.shared.pages import framed
from taskqueue.admin.shared.timeouts import bounded
from taskqueue.admin.task import repeats
from taskqueue.admin.task.confirm import CONFIRMED
from taskqueue.admin.tasks import export
from taskqueue.engine.access.permissions import Rights
from taskqueue.engine.actions import audited
from taskqueue.engine.maintenance.bulk_operations import ELIGIBLE, NEEDS
from taskqueue.models import Task
from taskqueue.states import BulkOperationVerb

ACROSS = "select_across"
TICKED = "_selected_action"


class BulkActions(ReadOnlyAdmin[Task]):
    """The actions of `TaskAdmin`, and what its list says around its rows."""

    rights: Any

    @admin.action(description="Retry selected tasks", permissions=["retry"])
    def retry_selected(self, request: HttpRequest, queryset: QuerySet[Task]) -> HttpResponse | None:
        """Retry each; finished steps are kept."""
        return self.intervene(request, audited.retry, BulkOperationVerb.RETRY)

    @admin.action(description="Run selected tasks now", permissions=["run_now"])
    def run_now_selected(self, request: HttpRequest, queryset: QuerySet[Task]) -> HttpResponse | None:
        """Let each go on at once that waits for a time."""
        return self.intervene(request, audited.run_task_now, BulkOperationVerb.RUN_NOW)

    @admin.action(description="Cancel selected tasks", permissions=["cancel"])
    def cancel_selected(self, request: HttpRequest, queryset: QuerySet[Task]) -> HttpResponse | None:
        """Cancel each."""
        return self.intervene(request, audited.cancel, BulkOperationVerb.CANCEL)

    @admin.action(description="Rerun selected tasks", permissions=["rerun"])
    def rerun_selected(self, request: HttpRequest, queryset: QuerySet[Task]) -> HttpResponse | None:
        """Make a new task of each."""
        return self.intervene(request, audited.rerun, BulkOperationVerb.RERUN)

    def intervene(self, request: HttpRequest, deed: Any, verb: BulkOperationVerb) -> HttpResponse | None:
        """Do something to each of the ticked tasks, and give an exact account; of all that match make a preview."""
        if request.POST.get(ACROSS) == "1":
            return HttpResponseRedirect(preview_of(verb, request))
        # What was ticked is what is meant, also if it has left the filter since.
        chosen = [identifier for text in request.POST.getlist(TICKED) if (identifier := read_id(text))]
        if len(chosen) > task_actions.LIMIT:
            sentence = f"Nothing was {DONE[verb]}: select at most {task_actions.LIMIT} tasks at a time."
            self.message_user(request, sentence, messages.ERROR)
            return None
        if (asking := self.confirmed(request, verb, chosen)) is not None:
            return asking
        rights = Rights(request.user)
        rights.know_all()
        allowed = task_actions.permitted(partial(deed, actor=task_actions.actor_of(request)), NEEDS[verb], rights)
        tally = task_actions.for_each(sorted(chosen, reverse=True), allowed)
        self.message_user(request, tally.sentence(DONE[verb]), messages.WARNING if tally.refused else messages.SUCCESS)
        return None

    def confirmed(self, request: HttpRequest, verb: BulkOperationVerb, chosen: list[UUID]) -> HttpResponse | None:
        """The page that names what runs again; None when it was seen, or no more than one step does."""
        if verb == BulkOperationVerb.CANCEL or CONFIRMED in request.POST:
            return None
        repetitions = repeats.of_tasks(verb, chosen)
        calls = sum(repetition.calls for repetition in repetitions)
        if not repetitions or (verb == BulkOperationVerb.RETRY and calls <= 1):
            return None
        tasks = formats.count_of(sum(repetition.tasks for repetition in repetitions), "task")
        context = {
            "verb": verb,
            "tasks": tasks,
            "consequence": CONSEQUENCES[verb],
            "repetitions": repetitions,
            "chosen": chosen,
            "action": request.POST.get("action", ""),
            "here": request.get_full_path(),
        }
        return framed(self, request, "task/confirm_many.html", f"{verb.capitalize()} {tasks}", context)

    def response_action(
        self, request: HttpRequest, queryset: QuerySet[Task], *args: Any, **kwargs: Any
    ) -> HttpResponse | None:
        """The stock one, which would stumble over what is no id."""
        sent = request.POST.copy()
        sent.setlist(TICKED, [text for text in sent.getlist(TICKED) if read_id(text)])
        request.POST = sent  # type: ignore[assignment]  # a copy differs only in that it may be changed
        answer: HttpResponse | None = super().response_action(request, queryset, *args, **kwargs)
        return answer

    @bounded
    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """The list, with the ways to its export and to operations on all that it shows."""
        rights = self.rights(request)
        query = query_of(request)
        context = {
            "filter_query": query,
            "verbs": [
                {
                    "label": verb.words.capitalize(),
                    "address": reverse("admin:taskqueue_bulkoperation_new", args=[verb.value]),
                }
                for verb in BulkOperationVerb
                if getattr(rights, verb.name.lower()) and applies(verb, request)
            ],
            "exports": export.ways(),
            **(extra_context or {}),
        }
        return super().changelist_view(request, context)


def read_id(text: str) -> UUID | None:
    """The id that a tick box sends."""
    try:
        return UUID(text)
    except ValueError:
        return None


def query_of(request: HttpRequest) -> str:
    """What narrows the list, as the end of an address; empty when nothing does."""
    query = request.GET.copy()
    for name in list(query):
        if name not in PARAMETERS or not query[name]:
            del query[name]
    return query.urlencode()


def applies(verb: BulkOperationVerb, request: HttpRequest) -> bool:
    """Whether the verb can be done in one of the statuses of the list."""
    asked = set(filter(None, request.GET.get("status", "").split(",")))
    return not asked or not asked.isdisjoint(ELIGIBLE.get(verb, asked))


def preview_of(verb: BulkOperationVerb, request: HttpRequest) -> str:
    """Where an operation on all that the list shows is looked at before it is started."""
    return f"{reverse('admin:taskqueue_bulkoperation_new', args=[verb.value])}?{query_of(request)}"
