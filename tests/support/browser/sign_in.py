"""Signing in, and what the pages are watched for."""

from __future__ import annotations

from django.conf import settings
from django.contrib.auth.models import Permission, User
from django.test import Client
from playwright.sync_api import BrowserContext

WATCH = "addEventListener('securitypolicyviolation', event => console.error(`CSP: ${event.violatedDirective}`))"


PATIENCE = 120_000


def sign_in(context: BrowserContext, base_url: str, name: str, *codenames: str) -> None:
    """Sign in a member of staff with these rights, by cookie."""
    user = User.objects.create_user(name, is_staff=True)
    user.user_permissions.set(Permission.objects.filter(content_type__app_label="taskqueue", codename__in=codenames))
    enter(context, base_url, user)


def sign_in_admin(context: BrowserContext, base_url: str, name: str) -> None:
    """Sign in somebody who may do everything."""
    enter(context, base_url, User.objects.create_user(name, is_staff=True, is_superuser=True))


def enter(context: BrowserContext, base_url: str, user: User) -> None:
    """Give the browser a user's session."""
    client = Client()
    client.force_login(user)
    cookie = client.cookies[settings.SESSION_COOKIE_NAME]
    context.add_cookies([{"name": cookie.key, "value": cookie.value, "url": base_url}])
