"""Users with permissions, and their browsers."""

from __future__ import annotations

from django.contrib.auth.models import Permission, User
from django.contrib.contenttypes.models import ContentType
from django.test import Client

from taskqueue.models import Task


def client_of(name: str, *codenames: str) -> Client:
    """A browser in which a member of staff with these permissions is signed in."""
    user = User.objects.create_user(name, is_staff=True)
    user.user_permissions.set(Permission.objects.filter(content_type__app_label="taskqueue", codename__in=codenames))
    ContentType.objects.get_for_model(Task)  # a query once per process; it would spoil the counts
    client = Client()
    client.force_login(user)
    return client


def client_with(*codenames: str) -> Client:
    """A browser of a member of staff with exactly these permissions."""
    return client_of("-".join(codenames), *codenames)
