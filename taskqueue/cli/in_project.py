"""The client inside the project: it calls the views of the API in this process, for `manage.py taskqueue`.

So both clients check, redact and answer alike. The caller can read the settings and the database, so no permission is
checked; secret fields are masked nevertheless. The audit names the user of the operating system.
"""

from __future__ import annotations

import json
import os
import pwd
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from typing import Any, Final
from urllib.parse import unquote_to_bytes, urlencode

from django.apps import apps
from django.contrib.auth import get_user_model
from django.contrib.auth.hashers import make_password
from django.core.handlers.wsgi import WSGIRequest
from django.db import DatabaseError, OperationalError, close_old_connections
from django.urls import get_urlconf, resolve, set_urlconf

from taskqueue.cli.client import Answer, Client, ExitCode, Failure, Query, Unavailable

URLCONF: Final = "taskqueue.service_urls"
"""Addresses of our own: a project need not mount the API."""
MASKED: Final = "taskqueue.view_task_payload"
NAME_MAX_LENGTH: Final = 150


class OperatingSystemUser:
    """The caller as the views see one: everything but secret fields is permitted."""

    is_active = is_authenticated = is_staff = is_superuser = True

    pk: Any = None
    """The key of the account that the audit names; None before `load_account`."""

    def load_account(self) -> None:
        """Find the account, or create it. It cannot log in.

        Raises:
            Failure: the project's model of users needs more than a name.
            Unavailable: the database does not answer.
        """
        if self.pk is not None or not apps.is_installed("django.contrib.admin"):  # which keeps the audit log
            return
        model: Any = get_user_model()
        fields = {field.name for field in model._meta.fields}
        values = {"is_active": False, "password": make_password(None)}
        known = {name: value for name, value in values.items() if name in fields}
        try:
            user, _created = model._default_manager.get_or_create(
                **{model.USERNAME_FIELD: self.get_username()}, defaults=known
            )
        except OperationalError as error:
            raise Unavailable(f"The database did not answer: {error}") from error
        except DatabaseError as error:
            raise Failure(
                f"The audit needs an account {self.get_username()!r}, and it could not be created: {error}",
                code=ExitCode.REFUSED,
                remedy="Create an inactive account with this name.",
            ) from error
        self.pk = user.pk

    def get_username(self) -> str:
        return f"CLI: {operating_system_user()}"[:NAME_MAX_LENGTH]

    def has_perm(self, permission: str, _row: object = None) -> bool:
        return permission != MASKED

    def has_perms(self, permissions: Any, _row: object = None) -> bool:
        return all(map(self.has_perm, permissions))


def operating_system_user() -> str:
    """The user of this process; behind `sudo` the user who called it."""
    if caller := os.environ.get("SUDO_USER"):
        return caller
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # a container may run as a user without a name
        return f"uid {os.getuid()}"


@dataclass(frozen=True)
class AuthenticatedAs:
    """Authenticates every request as this user."""

    user: OperatingSystemUser

    def authenticate(self, _request: object) -> tuple[OperatingSystemUser, None]:
        return self.user, None

    def authenticate_header(self, _request: object) -> str:
        return ""


class InProjectClient(Client):
    """Calls the views of the API in this process."""

    def __init__(self) -> None:
        self._user = OperatingSystemUser()
        self._checks: dict[str, Any] = {
            "authentication_classes": (partial(AuthenticatedAs, self._user),),
            "permission_classes": (),
            "throttle_classes": (),
        }

    def send(self, method: str, path: str, *, query: Query, body: object, seconds: float) -> Answer:
        close_old_connections()  # one may have been lost since the last request of a long watch
        if method != "GET":
            self._user.load_account()  # here its failure is an answer for people, in a view it would be a bug
        request = WSGIRequest(environment(method, path, query, body))
        outer = get_urlconf()
        set_urlconf(URLCONF)
        try:
            found = resolve(request.path_info, URLCONF)
            view: Any = found.func
            response = view.view_class.as_view(**self._checks)(request, **found.kwargs)
            if hasattr(response, "render"):
                response.render()
        finally:
            set_urlconf(outer)
        return Answer(response.status_code, json.loads(response.content))


def environment(method: str, path: str, query: Query, body: object) -> dict[str, Any]:
    """A request as a WSGI server describes one."""
    content = b"" if body is None else json.dumps(body).encode()
    return {
        "REQUEST_METHOD": method,
        "PATH_INFO": unquote_to_bytes(f"/api/{path}").decode("latin-1"),
        "QUERY_STRING": urlencode(query, doseq=True),
        "CONTENT_TYPE": "application/json",
        "CONTENT_LENGTH": str(len(content)),
        "HTTP_ACCEPT": "application/json",
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "0",
        "wsgi.input": BytesIO(content),
        "wsgi.url_scheme": "http",
        "wsgi.multithread": True,  # a request for a status may wait: this process serves no other one
    }
