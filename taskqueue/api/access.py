"""Who may call: a logged-in staff user with the permission for the deed; in DEBUG also anyone on this machine."""

from __future__ import annotations

from ipaddress import IPv6Address, ip_address
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.http.request import split_domain_port
from rest_framework.authentication import SessionAuthentication
from rest_framework.permissions import BasePermission

if TYPE_CHECKING:
    from django.http import HttpRequest
    from rest_framework.request import Request
    from rest_framework.views import APIView

PROXY_HEADERS = ("HTTP_FORWARDED", "HTTP_X_FORWARDED_FOR", "HTTP_X_REAL_IP", "HTTP_VIA")


class Access(BasePermission):
    """Asks for the permissions that the door names in `needs` for the request's method."""

    def has_permission(self, request: Request, view: APIView) -> bool:
        """Whether this request may go on."""
        if is_open_to(request):
            return True
        needs = getattr(view, "needs", {}).get("GET" if request.method == "HEAD" else request.method, ())
        return is_staff(request.user) and bool(request.user.has_perms(needs))


class StaffSession(SessionAuthentication):
    """The admin's session, with CSRF protection."""

    def authenticate_header(self, request: Request) -> str:
        """A challenge, so that a request without a login is answered 401 and one without permission 403."""
        return 'Session realm="admin"'


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
