"""A project's WSGI and ASGI applications, for its `wsgi.py` and `asgi.py` in place of Django's functions.

They load at the start of a process what its first request would otherwise load.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.core import asgi, wsgi

if TYPE_CHECKING:
    from django.core.handlers.asgi import ASGIHandler
    from django.core.handlers.wsgi import WSGIHandler


def get_wsgi_application() -> WSGIHandler:
    """Django's WSGI application, ready for its first request."""
    application = wsgi.get_wsgi_application()
    load()
    return application


def get_asgi_application() -> ASGIHandler:
    """Django's ASGI application, ready for its first request."""
    application = asgi.get_asgi_application()
    load()
    return application


def load() -> None:
    from taskqueue.api.tasks.warm_up import warm_up  # needs Django's apps

    warm_up()
