"""The valid token of a secret, with its user: one prepared statement reads both and the user's permissions."""

from __future__ import annotations

import hmac
from datetime import timedelta
from functools import cache
from typing import Any, Final

from django.conf import settings
from django.contrib.auth import load_backend
from django.contrib.auth.backends import ModelBackend
from django.contrib.auth.models import PermissionsMixin

from taskqueue.engine import sql
from taskqueue.engine.sql import access as statements
from taskqueue.errors import InvalidToken
from taskqueue.models import Token

USE_RECORDED_EVERY: Final = timedelta(minutes=1)
NOT_FOUND: Final = "There is no such token."
READS_PERMISSIONS: Final = ("_get_permissions", "_get_user_permissions", "_get_group_permissions")


def token_of_digest(digest: str) -> tuple[Token, bool]:
    """The valid token with this digest.

    Returns:
        The token with its user, and whether its use was recorded a short time ago.

    Raises:
        InvalidToken: there is no such token, or it is not valid any more.
    """
    with_permissions = uses_model_permissions(tuple(settings.AUTHENTICATION_BACKENDS))
    statement = statements.find_token(with_permissions=with_permissions)
    rows = sql.fetch(statement, {"digest": digest, "use_recorded_every": USE_RECORDED_EVERY})
    if not rows:
        raise InvalidToken(NOT_FOUND)
    values = iter(rows[0])
    token = sql.instance(Token, statements.TOKEN_COLUMNS, values)
    # The index has compared the digests. Its timing reveals no secret, since a digest cannot be chosen. This comparison
    # in constant time costs nothing and does not rely on the database.
    if not hmac.compare_digest(token.digest, digest):
        raise InvalidToken(NOT_FOUND)
    user = sql.instance(statements.user_model(), statements.user_columns(), values)
    has_expired, is_use_recorded, token.has_grants, own_permissions, group_permissions = values
    if token.revoked_at is not None:
        raise InvalidToken("The token has been revoked.")
    if has_expired:
        raise InvalidToken("The token has expired.")
    if not user.is_active:
        raise InvalidToken("The token's user is not active.")
    if own_permissions is not None:
        remember_permissions(user, own_permissions, group_permissions)
    token.user = user
    return token, is_use_recorded


def remember_permissions(user: Any, own: list[str], of_groups: list[str]) -> None:
    """Let `ModelBackend` find what it would read. A version of Django that ignores this reads them itself."""
    user._user_perm_cache, user._group_perm_cache = set(own), set(of_groups)


@cache
def uses_model_permissions(backends: tuple[str, ...]) -> bool:
    """Whether Django's own backend reads the permissions of users: a project's may give other ones."""
    loaded = [load_backend(path) for path in backends]
    readers = [type(backend) for backend in loaded if isinstance(backend, ModelBackend)]
    return issubclass(statements.user_model(), PermissionsMixin) and all(
        getattr(reader, name) is getattr(ModelBackend, name) for reader in readers for name in READS_PERMISSIONS
    )
