"""Who may call: a token or a logged-in staff user with the permission for the deed; in DEBUG anyone on this machine."""

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
from taskqueue.engine.access.permissions import Rights
from taskqueue.engine.actions import tokens
from taskqueue.engine.actions.audited import Actor
from taskqueue.errors import InvalidToken
from taskqueue.models import Token

if TYPE_CHECKING:
    from django.http import HttpRequest
    from rest_framework.request import Request
    from rest_framework.views import APIView

PROXY_HEADERS = ("HTTP_FORWARDED", "HTTP_X_FORWARDED_FOR", "HTTP_X_REAL_IP", "HTTP_VIA")


class Access(BasePermission):
    """Asks for the permissions that the door names in `needs` for the request's method."""

    message = ""
    """What a refused caller is told; there is one object for each request."""

    def has_permission(self, request: Request, view: APIView) -> bool:
        """Whether this request may go on."""
        if is_unchecked(request):
            return True
        needs = getattr(view, "needs", {}).get("GET" if request.method == "HEAD" else request.method, ())
        if not (isinstance(request.auth, Token) or is_staff(request.user)):
            self.message = "A call with a login needs a staff account, or a token instead of the login."
        elif missing := [permission for permission in needs if not request.user.has_perm(permission)]:
            self.message = (
                f"Your account lacks the permission{'s' if len(missing) > 1 else ''} {' and '.join(missing)}."
            )
        return not self.message


class BearerToken(BaseAuthentication):
    """`Authorization: Bearer …`. No CSRF token is asked for: a browser never sends this by itself."""

    def authenticate(self, request: Request) -> tuple[Any, Token] | None:
        """The token's user and the token; None without one, so that a session may do.

        Raises:
            TokenRefused: what came is no valid token. A session beside it does not count then.
        """
        secret = secret_of(request)
        if secret is None:
            return None
        try:
            token = tokens.find(secret)
        except InvalidToken as error:
            raise TokenRefused(error.detail) from error
        return token.user, token

    def authenticate_header(self, request: Request) -> str:
        """A challenge, so that a request without any login is answered 401 and one without permission 403."""
        fault = "" if secret_of(request) is None else ', error="invalid_token"'
        return f'Bearer realm="taskqueue"{fault}'


def secret_of(request: Request) -> str | None:
    """What the request brings as a bearer token; None if it brings nothing of the kind."""
    scheme, _space, secret = request.META.get("HTTP_AUTHORIZATION", "").partition(" ")
    return secret.strip() if scheme.lower() == "bearer" else None


class TokenRate(BaseThrottle):
    """Lets a token make as many requests as it may, over all processes."""

    def __init__(self) -> None:
        self.seconds: int | None = None

    def allow_request(self, request: Request, view: APIView) -> bool:
        """Whether there is room for this one."""
        if not isinstance(request.auth, Token):
            return True
        wait = tokens.wait_of(request.auth)
        self.seconds = math.ceil(wait.total_seconds())
        return not wait

    def wait(self) -> int | None:
        """In how many seconds there is."""
        return self.seconds


class StaffSession(SessionAuthentication):
    """The admin's session, with CSRF protection."""

    def authenticate_header(self, request: Request) -> str:
        """A challenge, so that a request without a login is answered 401 and one without permission 403."""
        return 'Session realm="admin"'


def may(request: Request, *permissions: str) -> bool:
    """Whether the caller has these permissions too, beside those that the door asks for."""
    return is_unchecked(request) or bool(request.user.has_perms(permissions))


def rights_of(request: Request) -> Rights:
    """What the caller may do with pipelines."""
    return Rights(None if is_unchecked(request) else request.user)


def actor_of(request: Request) -> Actor:
    """Who calls, for the record."""
    token = request.auth.name if isinstance(request.auth, Token) else ""
    return Actor(request.user.pk, request.user.get_username() or "somebody on this machine", token)


def is_unchecked(request: Request) -> bool:
    """Whether nothing is asked of this caller. In DEBUG too a token is held to its rights."""
    return request.auth is None and is_open_to(request)


def is_staff(user: Any) -> bool:
    """Whether this user may use the admin."""
    return bool(user and user.is_active and user.is_staff)


def is_open_to(request: HttpRequest | Request) -> bool:
    """Whether this request needs no login: DEBUG is on, and it comes from this machine and from no foreign page."""
    return settings.DEBUG and is_local(request) and is_called_local(request) and not is_from_another_site(request)


def is_called_local(request: HttpRequest | Request) -> bool:
    """Whether the caller names its own machine: a foreign name can be made to lead here (DNS rebinding)."""
    name = split_domain_port(request.get_host())[0].strip("[]")
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return name == "localhost" or name.endswith(".localhost")


def is_local(request: HttpRequest | Request) -> bool:
    """Whether the caller is on this machine. A proxy on it speaks for somebody else."""
    if any(header in request.META for header in PROXY_HEADERS):
        return False
    try:
        address = ip_address(request.META.get("REMOTE_ADDR", ""))
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return (mapped or address).is_loopback


def is_from_another_site(request: HttpRequest | Request) -> bool:
    """Whether a browser sent this on behalf of another site's page, which must not act on a developer's machine."""
    origin = request.META.get("HTTP_ORIGIN")
    return origin is not None and origin != f"{request.scheme}://{request.get_host()}"
