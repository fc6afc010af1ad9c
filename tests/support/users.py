"""Users with permissions, as logged-in test clients."""

from __future__ import annotations

from django.contrib.auth.models import Permission, User
from django.contrib.contenttypes.models import ContentType
from django.test import Client

from taskqueue.models import Pipeline, Task


def client_of(name: str, *codenames: str) -> Client:
    """A client logged in as a staff user with these permissions."""
    user = User.objects.create_user(name, is_staff=True)
    user.user_permissions.set(Permission.objects.filter(content_type__app_label="taskqueue", codename__in=codenames))
    ContentType.objects.get_for_models(Task, Pipeline)  # cached per process; tests that count queries need them read
    client = Client()
    client.force_login(user)
    return client


def client_with(*codenames: str) -> Client:
    """A client of a user named after these permissions."""
    return client_of("-".join(codenames), *codenames)
