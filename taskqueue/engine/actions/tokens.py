"""Tokens: made with a secret that is shown once, found by its digest, counted, and revoked."""

from __future__ import annotations

import hmac
import secrets
from datetime import timedelta
from hashlib import sha256
from typing import Any, Final

from django.db.models import Q
from django.db.models.functions import Now

from taskqueue.engine import sql
from taskqueue.engine.sql.tokens import COUNT_REQUEST
from taskqueue.errors import InvalidToken
from taskqueue.models import Token
from taskqueue.policies import Rate

MARK: Final = "tq_"
"""How each secret begins, so that scanners of source code and logs can find one that leaked."""
SECRET_BYTES: Final = 32
SHOWN: Final = len(MARK) + 6
SEEN_EVERY: Final = timedelta(minutes=1)
AT_ONCE: Final = 6
"""Of a minute's requests one part in so many may come at once: those of ten seconds."""


def issue(
    user: Any, *, name: str, expires_in: timedelta | None = None, per_minute: int | None = None
) -> tuple[Token, str]:
    """Make a token; its secret is in nobody's hands but the caller's.

    Args:
        user: as whom it calls.
        name: what it is for.
        expires_in: for how long it is valid; None for ever.
        per_minute: requests in a minute; None for any number.

    Returns:
        The token, and its secret.
    """
    secret = MARK + secrets.token_urlsafe(SECRET_BYTES)
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
    """What is kept of a secret."""
    return sha256(secret.encode()).hexdigest()


def find(secret: str) -> Token:
    """The valid token of a secret, with its user; one query by an index.

    Raises:
        InvalidToken: there is none, or it is no longer valid.
    """
    digest = digest_of(secret)
    known = Token.objects.select_related("user").annotate(
        has_expired=Q(expires_at__lte=Now()), is_seen=Q(last_used_at__gt=Now() - SEEN_EVERY)
    )
    token: Any = known.filter(digest=digest).first()
    # The index has compared the digests already, and from how long that took nobody can work towards a secret: its
    # digest cannot be chosen. This comparison costs nothing, and holds whatever a database does.
    if token is None or not hmac.compare_digest(token.digest, digest):
        raise InvalidToken("There is no such token.")
    if token.revoked_at is not None:
        raise InvalidToken("The token has been revoked.")
    if token.has_expired:
        raise InvalidToken("The token has expired.")
    if not token.user.is_active:
        raise InvalidToken("The token's user is not active.")
    if not token.is_seen:
        see(token)
    found: Token = token
    return found


def see(token: Token) -> None:
    """Note that a token was used. Of many requests at once one writes it."""
    stale = Q(last_used_at__isnull=True) | Q(last_used_at__lte=Now() - SEEN_EVERY)
    Token.objects.filter(stale, pk=token.pk).update(last_used_at=Now())


def wait_of(token: Token) -> timedelta:
    """Count a request of a token: nothing if it passes, else how long it has to wait; then it was not counted."""
    if token.per_minute is None:
        return timedelta(0)
    rate = Rate(token.per_minute, per=timedelta(minutes=1), burst=max(1, token.per_minute // AT_ONCE))
    values = {"token": token.pk, "gap": rate.interval, "slack": rate.tolerance}
    rows = sql.fetch(COUNT_REQUEST, values)
    # Without a row somebody has deleted it just now: the next request will hear of that.
    return max(rows[0][0], timedelta(0)) if rows else timedelta(0)


def revoke(token_id: int) -> bool:
    """Let a token be valid no longer; False when it was revoked before."""
    return bool(Token.objects.filter(pk=token_id, revoked_at=None).update(revoked_at=Now()))
