"""Callers need a token or a staff session, and the view's permissions; with DEBUG on, local callers need neither."""

from __future__ import annotations

import math
from ipaddress import IPv6Address, ip_address
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.http.request import split_domain_port
from rest_framework.authentication import BaseAuthentication, SessionAuthentication
from rest_framework.permissions import BasePermission
from rest_framework.throttling import BaseThrottle

from taskqueue.api.problems import TokenRefused
from taskqueue.engine.access.actor import Actor
from taskqueue.engine.access.permissions import CallerPermissions
from taskqueue.engine.actions import tokens
from taskqueue.errors import InvalidToken
from taskqueue.models import Token

if TYPE_CHECKING:
    from django.http import HttpRequest
    from rest_framework.request import Request
    from rest_framework.views import APIView

PROXY_HEADERS = ("HTTP_FORWARDED", "HTTP_X_FORWARDED_FOR", "HTTP_X_REAL_IP", "HTTP_VIA")


class RequiredPermissions(BasePermission):
    """Requires the permissions that the view lists in `required_permissions` for the request's method."""

    message = ""
    """Why the request is refused; DRF makes a new object for each request."""

    def has_permission(self, request: Request, view: APIView) -> bool:
        if is_exempt(request):
            return True
        method = "GET" if request.method == "HEAD" else request.method
        required = getattr(view, "required_permissions", {}).get(method, ())
        if not (isinstance(request.auth, Token) or is_staff(request.user)):
            self.message = "A call with a login needs a staff account, or a token instead of the login."
        elif missing := [permission for permission in required if not request.user.has_perm(permission)]:
            self.message = (
                f"Your account lacks the permission{'s' if len(missing) > 1 else ''} {' and '.join(missing)}."
            )
        return not self.message


class BearerToken(BaseAuthentication):
    """`Authorization: Bearer …`. Needs no CSRF token: a browser never sends this header by itself."""

    def authenticate(self, request: Request) -> tuple[Any, Token] | None:
        """The token's user and the token; None without one, so that the session is tried.

        Raises:
            TokenRefused: the token is not valid; a session in the same request does not help then.
        """
        secret = bearer_secret(request)
        if secret is None:
            return None
        try:
            token = tokens.find(secret)
        except InvalidToken as error:
            raise TokenRefused(error.detail) from error
        return token.user, token

    def authenticate_header(self, request: Request) -> str:
        """The challenge: with it DRF answers 401 without a login and 403 without permission."""
        error = "" if bearer_secret(request) is None else ', error="invalid_token"'
        return f'Bearer realm="taskqueue"{error}'


def bearer_secret(request: Request) -> str | None:
    scheme, _space, secret = request.META.get("HTTP_AUTHORIZATION", "").partition(" ")
    return secret.strip() if scheme.lower() == "bearer" else None


class TokenRateThrottle(BaseThrottle):
    """Limits a token to its requests per minute, over all processes."""

    def __init__(self) -> None:
        self.seconds: int | None = None

    def allow_request(self, request: Request, view: APIView) -> bool:
        if not isinstance(request.auth, Token):
            return True
        wait = tokens.wait_of(request.auth)
        self.seconds = math.ceil(wait.total_seconds())
        return not wait

    def wait(self) -> int | None:
        return self.seconds


class StaffSession(SessionAuthentication):
    """The admin's session, with CSRF protection."""

    def authenticate_header(self, request: Request) -> str:
        """The challenge: with it DRF answers 401 without a login and 403 without permission."""
        return 'Session realm="admin"'


def has_permissions(request: Request, *permissions: str) -> bool:
    return is_exempt(request) or bool(request.user.has_perms(permissions))


def pipeline_permissions_of(request: Request) -> CallerPermissions:
    has_grants = request.auth.has_grants if isinstance(request.auth, Token) else True
    return CallerPermissions(None if is_exempt(request) else request.user, has_grants=has_grants)


def actor_of(request: Request) -> Actor:
    token = request.auth.name if isinstance(request.auth, Token) else ""
    return Actor(request.user.pk, request.user.get_username() or "local caller", token)


def is_exempt(request: Request) -> bool:
    """Whether no permission is checked: a local caller with DEBUG on. A token's permissions are always checked."""
    return request.auth is None and is_local_in_debug(request)


def is_staff(user: Any) -> bool:
    return bool(user and user.is_active and user.is_staff)


def is_local_in_debug(request: HttpRequest | Request) -> bool:
    """Whether DEBUG is on and the request comes from this machine, and not from another site's page in its browser."""
    return settings.DEBUG and is_from_loopback(request) and has_local_host(request) and not is_cross_origin(request)


def has_local_host(request: HttpRequest | Request) -> bool:
    """Whether the Host header names this machine. Another name can be made to resolve to it (DNS rebinding)."""
    name = split_domain_port(request.get_host())[0].strip("[]")
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return name == "localhost" or name.endswith(".localhost")


def is_from_loopback(request: HttpRequest | Request) -> bool:
    """Whether the caller is on this machine. A proxy on it forwards requests from elsewhere, so it does not count."""
    if any(header in request.META for header in PROXY_HEADERS):
        return False
    try:
        address = ip_address(request.META.get("REMOTE_ADDR", ""))
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return (mapped or address).is_loopback


def is_cross_origin(request: HttpRequest | Request) -> bool:
    """Whether another site's page sent this, which must not act on a developer's machine."""
    origin = request.META.get("HTTP_ORIGIN")
    return origin is not None and origin != f"{request.scheme}://{request.get_host()}"
