"""The key with which django-q2 signs its messages: one of their own.

django-q2 pickles what it sends, so whoever can sign for it can run code. It signs with SECRET_KEY, as Django signs
sessions, links and whatever else a project signs. With a key derived for messages alone, nothing that was signed for
another purpose is ever unpickled, whatever salt it was signed with.
"""

from __future__ import annotations

from typing import Final

from django.conf import settings
from django.utils.crypto import salted_hmac
from django_q.conf import Conf

PURPOSE: Final = "taskqueue.pool.signing"


def use_own_key() -> None:
    """Sign and check messages with it, in this process and in those forked from it."""
    Conf.SECRET_KEY = own_key(settings.SECRET_KEY)


def own_key(secret_key: str) -> str:
    """The key for messages that belongs to a project's SECRET_KEY."""
    return salted_hmac(PURPOSE, "messages", secret=secret_key, algorithm="sha256").hexdigest()
