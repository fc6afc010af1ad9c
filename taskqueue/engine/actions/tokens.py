"""API tokens: issue them with a secret that is shown once, find them by its digest, throttle and revoke them."""

from __future__ import annotations

import secrets
from datetime import timedelta
from hashlib import sha256
from typing import Any, Final

from django.db.models import Q
from django.db.models.functions import Now

from taskqueue.engine import sql
from taskqueue.engine.access.token_user import USE_RECORDED_EVERY, token_of_digest
from taskqueue.engine.sql.tokens import COUNT_REQUEST
from taskqueue.models import Token
from taskqueue.policies import Rate

PREFIX: Final = "tq_"
"""The beginning of each secret, by which secret scanners find leaked ones."""
SECRET_BYTES: Final = 32
SHOWN: Final = len(PREFIX) + 6
BURSTS_PER_MINUTE: Final = 6
"""A burst is the requests of ten seconds."""


def issue(
    user: Any, *, name: str, expires_in: timedelta | None = None, per_minute: int | None = None
) -> tuple[Token, str]:
    """Create a token.

    Args:
        user: the user whose permissions its requests have.
        name: what it is for.
        expires_in: how long it is valid; None for ever.
        per_minute: the maximum number of requests in a minute; None for no limit.

    Returns:
        The token, and its secret, which is not stored.
    """
    secret = PREFIX + secrets.token_urlsafe(SECRET_BYTES)
    token = Token(
        user=user,
        name=name,
        digest=digest_of(secret),
        prefix=secret[:SHOWN],
        per_minute=per_minute,
        expires_at=None if expires_in is None else Now() + expires_in,
    )
    token.save(force_insert=True)
    token.refresh_from_db()
    return token, secret


def digest_of(secret: str) -> str:
    return sha256(secret.encode()).hexdigest()


def find(secret: str) -> Token:
    """The valid token of a secret, with its user and the user's permissions, in one query by an index.

    Raises:
        InvalidToken: there is no such token, or it is not valid any more.
    """
    token, is_use_recorded = token_of_digest(digest_of(secret))
    if not is_use_recorded:
        record_use(token)
    return token


def record_use(token: Token) -> None:
    """Record that a token was used. Of concurrent requests one writes it."""
    stale = Q(last_used_at__isnull=True) | Q(last_used_at__lte=Now() - USE_RECORDED_EVERY)
    Token.objects.filter(stale, pk=token.pk).update(last_used_at=Now())


def wait_of(token: Token) -> timedelta:
    """Count a request of a token. Returns zero, or how long a refused request must wait; it is then not counted."""
    if token.per_minute is None:
        return timedelta(0)
    rate = Rate(token.per_minute, per=timedelta(minutes=1), burst=max(1, token.per_minute // BURSTS_PER_MINUTE))
    values = {"token": token.pk, "gap": rate.interval, "slack": rate.tolerance}
    rows = sql.fetch(COUNT_REQUEST, values)
    # No row: the token was deleted just now, and the next request is refused.
    return max(rows[0][0], timedelta(0)) if rows else timedelta(0)


def revoke(token_id: int) -> bool:
    """Revoke a token; False when it was revoked before."""
    return bool(Token.objects.filter(pk=token_id, revoked_at=None).update(revoked_at=Now()))
