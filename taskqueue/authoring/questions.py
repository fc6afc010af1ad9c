"""Questions for people: who may answer a wait, the form of the answer, and links that need no login."""

from __future__ import annotations

import pkgutil
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from pydantic import PydanticUserError, TypeAdapter

from taskqueue import masks
from taskqueue.context import Question, current
from taskqueue.definitions import NAME_MAX_LENGTH
from taskqueue.engine.access.answer_links import AnswerLink, address_of
from taskqueue.errors import InvalidContext
from taskqueue.json_values import codec

GROUP = "group:"
ASSIGNEES_MAX = 50
ASSIGNEE_MAX_LENGTH = 200
QUESTION_MAX_LENGTH = 2_000
RECIPIENT_MAX_LENGTH = 200


def question_of(model: Any, assignees: Sequence[str], text: str) -> Question | None:
    """The question of a wait; None without assignees.

    Raises:
        ValueError: an assignee, the text or the model is not valid.
    """
    if isinstance(assignees, str):
        message = f"assignees is a list of names, such as [{assignees!r}], not a string."
        raise ValueError(message)  # noqa: TRY004 - as all that is wrong with a wait
    if not assignees:
        if text:
            raise ValueError("A question needs assignees: the users and groups who may answer it.")
        return None
    if model is None:
        raise ValueError("assignees needs a model: the type of the answer, of which the form is made.")
    check_assignees(assignees)
    check_text(text, "A question", QUESTION_MAX_LENGTH)
    return Question(text=text, assignees=tuple(assignees), schema=schema_of(model), model=path_of(model))


@lru_cache(maxsize=256)
def schema_of(model: Any) -> str:
    """The JSON schema of an answer, as JSON."""
    try:
        schema = TypeAdapter(model).json_schema()
    except PydanticUserError as error:
        raise ValueError(f"No form can be made of {getattr(model, '__name__', model)}: {error}") from error
    if masks.marks_secrets(schema):
        raise ValueError("The model of an answer must not have secret fields, since answers are shown on the task.")
    return codec.write(schema)


def check_assignees(assignees: Sequence[str]) -> None:
    if len(assignees) > ASSIGNEES_MAX:
        raise ValueError(f"A question has at most {ASSIGNEES_MAX} assignees, not {len(assignees)}. Use a group.")
    for assignee in assignees:
        if not str(assignee).removeprefix(GROUP).strip():
            raise ValueError(f"An assignee is the name of a user, or {GROUP} and a group's name, not {assignee!r}.")
        check_text(assignee, "An assignee", ASSIGNEE_MAX_LENGTH)


def check_text(text: object, what: str, length: int) -> None:
    if not isinstance(text, str) or len(text) > length or any(codec.text_errors(text, "")):
        raise ValueError(f"{what} is a text of at most {length:,} characters without NUL, not {str(text)[:100]!r}.")


def path_of(model: Any) -> str:
    """Where to import a type, as `module:Qualname`; empty if it cannot be imported, as one of a function."""
    path = f"{getattr(model, '__module__', '')}:{getattr(model, '__qualname__', '')}"
    try:
        return path if pkgutil.resolve_name(path) is model else ""
    except (ValueError, ImportError, AttributeError):
        return ""


def answer_link(wait: str, *, to: str) -> str:
    """An address at which a person answers a question without a login. Call it in a body, or in the step that mails it.

    The address is always the same for a task, a wait and a recipient. It works while a wait of this name is open, also
    for later waits of the name, until one of them has an answer or an event. Opening it answers nothing.

    Args:
        wait: the name of the wait: its event's name, or what `wait_for` has as `name`.
        to: the person who gets the link, such as a mail address; shown as the one who answered.

    Returns:
        An absolute address, which begins with the setting PUBLIC_URL.

    Raises:
        InvalidContext: called outside of tasks.
        ValueError: a text is not valid.
        ImproperlyConfigured: PUBLIC_URL is not set.
    """
    check_text(wait, "The name of a wait", NAME_MAX_LENGTH)
    check_text(to, "The recipient of an answer link", RECIPIENT_MAX_LENGTH)
    if not wait or not to.strip():
        raise ValueError("An answer link needs the name of a wait and its recipient.")
    task = current.get()
    if task is None:
        raise InvalidContext(f"answer_link({wait!r}) was called outside of a task, which its address names.")
    return address_of(AnswerLink(task=task.id, wait=wait, to=to))
