"""Answer the questions of tasks inside a test."""

from __future__ import annotations

from typing import TYPE_CHECKING

from taskqueue.engine.actions import answers

if TYPE_CHECKING:
    from taskqueue.models import Task


def answer(task: Task, step: str, data: object, *, by: str = "test") -> None:
    """Answer a question as a person would; the next `work()` continues the task. No permission is checked.

    Args:
        task: a task that waits with assignees.
        step: the key of the wait: its event's name or `name`, and from the second call on `name#2`.
        data: the answer as plain JSON values.
        by: the person's name.

    Raises:
        QuestionNotFound, AlreadyAnswered, QuestionClosed, InvalidAnswer
    """
    answers.answer(answers.find_question(task.pk, step), data, by=by)
