"""Answer a question that a task waits with: check the answer, end the wait, and let the task continue."""

from __future__ import annotations

import pkgutil
from collections.abc import Mapping
from datetime import UTC
from itertools import islice
from typing import Any, Final
from uuid import UUID

from django.db import transaction
from django.db.models import QuerySet
from jsonschema import Draft202012Validator
from pydantic import TypeAdapter, ValidationError

from taskqueue.conf import settings
from taskqueue.engine import sql
from taskqueue.engine.access.actor import SYSTEM, Actor
from taskqueue.engine.access.answer_links import AnswerLink
from taskqueue.engine.runtime.failures import message_of
from taskqueue.engine.runtime.notify import notify_on_commit
from taskqueue.engine.tasks import control
from taskqueue.errors import AlreadyAnswered, FieldError, InvalidAnswer, QuestionClosed, QuestionNotFound
from taskqueue.json_pointers import pointer_to
from taskqueue.json_values import codec
from taskqueue.models import Question, Step
from taskqueue.policies import matches
from taskqueue.states import StepKind, WaitOutcome

MOST_ERRORS: Final = 20


def answer(question: Question, data: object, *, by: str, actor: Actor = SYSTEM) -> Question:
    """Answer a question: its wait ends, and the task continues with the answer.

    One transaction, under the task's lock: of two answers, or of an answer, an event, a timeout and a cancel, one
    counts, and the others find the question closed. No event is made of an answer.

    Args:
        question: the question, from `find_question`. The caller has checked that it may be answered by this person.
        data: plain JSON values. Values of the wait's match that are fields of the model may be left out.
        by: the person's name, for the task's record.
        actor: named in the audit entry; without one the wait and its step's output name the person.

    Returns:
        The question as it is now, with its task.

    Raises:
        InvalidAnswer, NotSerializable, TooLarge: the question stays open.
        AlreadyAnswered, QuestionClosed, QuestionNotFound
    """
    refuse_closed(question)
    values = {"wait": question.pk, "data": checked(question, data), "by": codec.printable(by)}
    with transaction.atomic():
        task = control.lock(question.task_id)
        if task.has_ended or not sql.fetch(sql.RESOLVE_QUESTION, values):
            refuse_closed(question_by_id(question.pk), is_over=True)
        sql.fetch(sql.QUEUE_SUSPENDED, {"task": task.pk})
        notify_on_commit()
        actor.record(task, f"Answered {question.step_key}.")
    return question_by_id(question.pk)


def find_question(task: UUID, step_key: str) -> Question:
    """A question of a task by the key of its step, open or not.

    Raises:
        QuestionNotFound
    """
    found = questions().filter(task=task, step_key=step_key).order_by("position").first()
    if found is None:
        raise QuestionNotFound(f"Task {task} has no question {step_key!r}: it has not asked it, or has been pruned.")
    return found


def question_by_id(number: int) -> Question:
    """A question by the id of its wait, open or not.

    Raises:
        QuestionNotFound
    """
    found = questions().filter(pk=number).first()
    if found is None:
        raise QuestionNotFound(f"There is no question {number}. Its task may have been retried or pruned.")
    return found


def linked_question(link: AnswerLink) -> Question:
    """The question that a link is for: the wait of its name that has an answer or an event, else the newest one.

    Raises:
        QuestionNotFound
    """
    steps = Step.objects.filter(task=link.task, kind=StepKind.WAIT, name=link.wait).values("key")
    asked = questions().filter(task=link.task, step_key__in=steps).order_by("pk")
    ended = asked.filter(outcome__in=(WaitOutcome.ANSWER, WaitOutcome.EVENT)).first()
    found = ended or asked.last()
    if found is None:
        raise QuestionNotFound("It has not been asked yet, or its task has been deleted. Try again in a minute.")
    return found


def questions() -> QuerySet[Question]:
    return Question.objects.filter(assignees__isnull=False).select_related("task")


def refuse_closed(question: Question, *, is_over: bool = False) -> None:
    """Refuse an answer to a question that is not open.

    Args:
        is_over: an answer has found it closed, so it is, whatever the row says: its time is over, or its task ended.

    Raises:
        AlreadyAnswered, QuestionClosed
    """
    ended_at = question.resolved_at
    at = "" if ended_at is None else f" at {ended_at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
    match question.outcome:
        case WaitOutcome.ANSWER:
            raise AlreadyAnswered(f"The question was answered already by {question.answered_by}{at}.")
        case WaitOutcome.EVENT:
            raise QuestionClosed(f"An event {question.event} came before the answer{at}.")
        case WaitOutcome.TIMEOUT:
            raise QuestionClosed(f"The question timed out{at}.")
    if question.task.has_ended or question.outcome:
        raise QuestionClosed(f"The task is {question.task.status}: it no longer waits for an answer.")
    if is_over:
        raise QuestionClosed("The question timed out, and its task continues without an answer.")


def checked(question: Question, data: object) -> str:
    """An answer as JSON, with the values of the wait's match.

    Raises:
        InvalidAnswer, NotSerializable, TooLarge
    """
    fixed = fixed_values(question)
    if fixed and isinstance(data, Mapping):
        data = {**fixed, **data}
        changed = [FieldError(pointer_to([name]), f"It is {codec.write(value)} in this question.")
                   for name, value in fixed.items() if not matches({name: value}, data)]  # fmt: skip
        refuse_errors(changed)
    text = codec.write(data, what="answer")
    codec.within(text, limit=settings().PAYLOAD_MAX_BYTES, what="The answer", setting="PAYLOAD_MAX_BYTES")
    model = model_of(question)
    refuse_errors(schema_errors(question.answer_schema, codec.read(text)) if model is None else errors_of(model, text))
    return text


def fixed_values(question: Question) -> dict[str, Any]:
    """The values of the wait's match that are fields of the answer: they are given, not asked for."""
    fields = (question.answer_schema or {}).get("properties", {})
    return {name: value for name, value in question.match.items() if name in fields}


def refuse_errors(errors: list[FieldError]) -> None:
    if errors:
        raise InvalidAnswer(f"The answer has {len(errors)} error{'s' * (len(errors) > 1)}.", errors)


def model_of(question: Question) -> Any:
    """The type of the answer; None if this process cannot import it, as without the pipeline's code."""
    try:
        return TypeAdapter(pkgutil.resolve_name(question.answer_model)) if question.answer_model else None
    except Exception:  # noqa: BLE001 - a module of the author's may raise anything when it is imported
        return None


def errors_of(model: TypeAdapter[Any], text: str) -> list[FieldError]:
    try:
        model.validate_json(text)
    except ValidationError as error:
        return codec.field_errors(error)[:MOST_ERRORS]
    except Exception as error:  # noqa: BLE001 - a validator of the author's may raise anything
        return [FieldError("", f"The model's own code failed: {type(error).__name__}: {message_of(error)}.")]
    return []


def schema_errors(schema: Any, data: object) -> list[FieldError]:
    found = islice(Draft202012Validator(schema).iter_errors(data), MOST_ERRORS)
    return [FieldError(pointer_to(error.absolute_path), error.message) for error in found]
