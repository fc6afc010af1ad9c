"""The key with which django-q2 signs its messages.

django-q2 pickles its messages, so the holder of its key can run code. Its own key is SECRET_KEY, with which Django also
signs sessions and links. A key derived for messages alone unpickles nothing that was signed for another purpose.
"""

from __future__ import annotations

from typing import Final

from django.conf import settings
from django.utils.crypto import salted_hmac
from django_q.conf import Conf

PURPOSE: Final = "taskqueue.pool.signing"


def use_own_key() -> None:
    """Sign and check messages with the derived key, in this process and in those forked from it."""
    Conf.SECRET_KEY = own_key(settings.SECRET_KEY)


def own_key(secret_key: str) -> str:
    """Return the key for messages that is derived from a project's SECRET_KEY."""
    return salted_hmac(PURPOSE, "messages", secret=secret_key, algorithm="sha256").hexdigest()
