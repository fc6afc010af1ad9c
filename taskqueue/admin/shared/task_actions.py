"""What people do to tasks, each by a deed of the engine on their record; and what to tell of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from uuid import UUID

from django.http import HttpRequest

from taskqueue.admin.shared import formats
from taskqueue.engine.access.permissions import Action, Rights
from taskqueue.engine.actions.audited import Actor
from taskqueue.engine.queries import tasks
from taskqueue.errors import NotCancellable, NotRetryable, TaskNotFound, TaskqueueError
from taskqueue.models import Task

LIMIT = 200
"""Tasks that one request may change."""

Verb = Callable[[UUID], Task]


@dataclass
class Tally:
    """What became of the tasks that a verb was called for."""

    done: int = 0
    refused: Counter[str] = field(default_factory=Counter)

    def sentence(self, done: str) -> str:
        """An exact account: how many were done, how many not, and why."""
        parts = [f"{formats.count_of(self.done, 'task')} {done}."] if self.done or not self.refused else []
        parts += [f"{formats.count_of(number, 'task')} not {done}: {why}" for why, number in self.refused.most_common()]
        return " ".join(parts)


def actor_of(request: HttpRequest) -> Actor:
    """Who does it, for the record."""
    return Actor(request.user.pk, request.user.get_username())


def permitted(verb: Verb, deed: Action, rights: Rights) -> Verb:
    """The verb, for tasks with which the user may do this; others raise NotPermitted."""

    def do(task_id: UUID) -> Task:
        rights.require(deed, tasks.pipeline_of(task_id))
        return verb(task_id)

    return do


def for_each(task_ids: Iterable[UUID], verb: Verb) -> Tally:
    """Do the same to several tasks; each succeeds or is refused by itself."""
    tally = Tally()
    for task_id in task_ids:
        try:
            verb(task_id)
        except TaskqueueError as error:
            tally.refused[reason(task_id, error)] += 1
        else:
            tally.done += 1
    return tally


def reason(task_id: UUID, error: TaskqueueError) -> str:
    """Why a verb was refused: for a task that has moved on what it is now, else what the engine says."""
    if not isinstance(error, NotRetryable | NotCancellable):
        return error.detail
    try:
        return f"the task is now {tasks.find(task_id).status}."
    except TaskNotFound as gone:
        return gone.detail
