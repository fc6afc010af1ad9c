"""The form of an answer, in the admin and behind a link."""

from __future__ import annotations

from django.utils.datastructures import MultiValueDict

from taskqueue.engine.access.actor import SYSTEM, Actor
from taskqueue.engine.actions import answers
from taskqueue.errors import AlreadyAnswered, InvalidValue, QuestionClosed, QuestionNotFound, TaskqueueError
from taskqueue.forms.schema_form import SchemaForm
from taskqueue.models import Question

CLOSED = (AlreadyAnswered, QuestionClosed, QuestionNotFound)
"""Why a question takes no answer any more."""


def answer_form(question: Question, data: MultiValueDict[str, str] | None = None) -> SchemaForm:
    """The form of a question. The values of its match are shown, and cannot be changed."""
    fixed = answers.fixed_values(question)
    return SchemaForm(question.answer_schema, fixed or None, data, fixed=fixed)


def send_answer(question: Question, form: SchemaForm, *, by: str, actor: Actor = SYSTEM) -> bool:
    """Answer a question by its form. False when the answer is not valid; the form then has the errors.

    Raises:
        AlreadyAnswered, QuestionClosed, QuestionNotFound
    """
    if not form.is_valid():
        return False
    data = form.payload()
    if isinstance(data, dict):
        data |= answers.fixed_values(question)  # the form has them as text
    try:
        answers.answer(question, data, by=by, actor=actor)
    except CLOSED:
        raise
    except InvalidValue as error:
        form.add_payload_errors(error.errors)
    except TaskqueueError as error:
        form.add_error(None, error.detail)
    return not form.errors
