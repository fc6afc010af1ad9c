"""Sign a browser in, and the script that reports CSP violations."""

from __future__ import annotations

from django.conf import settings
from django.contrib.auth.models import Permission, User
from django.test import Client
from playwright.sync_api import BrowserContext

WATCH = "addEventListener('securitypolicyviolation', event => console.error(`CSP: ${event.violatedDirective}`))"


BROWSER_TIMEOUT = 120_000
"""Milliseconds."""


def sign_in(context: BrowserContext, base_url: str, name: str, *codenames: str) -> None:
    """Sign in a staff user with these permissions of taskqueue."""
    user = User.objects.create_user(name, is_staff=True)
    user.user_permissions.set(Permission.objects.filter(content_type__app_label="taskqueue", codename__in=codenames))
    set_session_cookie(context, base_url, user)


def sign_in_admin(context: BrowserContext, base_url: str, name: str) -> None:
    """Sign in a superuser."""
    set_session_cookie(context, base_url, User.objects.create_user(name, is_staff=True, is_superuser=True))


def set_session_cookie(context: BrowserContext, base_url: str, user: User) -> None:
    """Give the browser the session of a user."""
    client = Client()
    client.force_login(user)
    cookie = client.cookies[settings.SESSION_COOKIE_NAME]
    context.add_cookies([{"name": cookie.key, "value": cookie.value, "url": base_url}])
