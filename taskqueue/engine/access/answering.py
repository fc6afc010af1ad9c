"""Who may answer a question: its assignees, and users who may retry tasks of its pipeline."""

from __future__ import annotations

from typing import Any, Final

from django.db.models import Q, QuerySet
from django.db.models.functions import Now

from taskqueue.engine.access.permissions import MODEL_PERMISSIONS, Action, CallerPermissions
from taskqueue.errors import NotPermitted
from taskqueue.models import Question, Wait

GROUP: Final = "group:"


def open_questions(rights: CallerPermissions) -> QuerySet[Question]:
    """The open questions that a caller may answer."""
    found = Question.objects.filter(
        Q(until__isnull=True) | Q(until__gt=Now()), outcome="", assignees__isnull=False, task__finished_at__isnull=True
    )
    if rights.user is None or rights.user.is_superuser:
        return found
    mine = Q(assignees__overlap=names_of(rights.user))
    if rights.has_permission(Action.RETRY):
        mine |= ~Q(task__pipeline__in=rights.pipelines_denied(Action.RETRY))
    return found.filter(mine)


def may_answer(question: Wait, pipeline: str, rights: CallerPermissions) -> bool:
    if rights.may(Action.RETRY, pipeline):
        return True
    return not set(question.assignees or ()).isdisjoint(names_of(rights.user))


def require_answer(question: Wait, pipeline: str, rights: CallerPermissions) -> None:
    """Refuse a caller who may not answer a question.

    Raises:
        NotPermitted
    """
    if not may_answer(question, pipeline, rights):
        raise NotPermitted(
            f"You are not an assignee of this question ({', '.join(question.assignees or ())}), and you may not "
            f"retry tasks of pipeline {pipeline!r} ({MODEL_PERMISSIONS[Action.RETRY]})."
        )


def names_of(user: Any) -> list[str]:
    """A user's name and groups, as assignees are written."""
    if user is None or not user.is_active or user.pk is None:
        return []
    groups = [f"{GROUP}{name}" for name in user.groups.values_list("name", flat=True)]
    name = user.get_username()
    # A project's own user model may allow such a name; it must not stand for a group.
    return groups if name.startswith(GROUP) else [name, *groups]
