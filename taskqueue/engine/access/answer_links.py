"""Answer links: signed addresses at which a person answers a question without a login."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final
from uuid import UUID

from django.core.exceptions import ImproperlyConfigured
from django.core.signing import BadSignature, Signer
from django.urls import reverse

from taskqueue.conf import settings

SALT: Final = "taskqueue.answer-link"


@dataclass(frozen=True, kw_only=True)
class AnswerLink:
    """What an answer link carries: the task, the name of its wait, and the person who got the link."""

    task: UUID
    wait: str
    to: str


def address_of(link: AnswerLink) -> str:
    """The absolute address of an answer link. It has no time in it: a body that runs again makes the same one.

    Raises:
        ImproperlyConfigured: the setting PUBLIC_URL is empty.
    """
    base = settings().PUBLIC_URL
    if not base:
        raise ImproperlyConfigured(
            "TASKQUEUE['PUBLIC_URL'] is not set: links need the address of this service, such as "
            "https://tasks.example.com."
        )
    return base.rstrip("/") + reverse("taskqueue:answer", args=[token_of(link)])


def token_of(link: AnswerLink) -> str:
    return Signer(salt=SALT).sign_object([link.task.hex, link.wait, link.to])


def link_of(token: str) -> AnswerLink | None:
    """The link that a token was made of; None if it is not valid."""
    try:
        task, wait, to = Signer(salt=SALT).unsign_object(token)
        return AnswerLink(task=UUID(task), wait=wait, to=to)
    except (BadSignature, ValueError, TypeError):
        return None
