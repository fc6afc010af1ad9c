"""What requests of the API need, loaded before the first one."""

from __future__ import annotations

import uuid
from contextlib import suppress

from django.conf import settings
from django.urls import NoReverseMatch, Resolver404, get_script_prefix, resolve, reverse
from django.utils import translation

from taskqueue.api.tasks.status import PROGRESS
from taskqueue.api.tasks.submit import SUBMITTED
from taskqueue.engine.access.token_user import uses_model_permissions
from taskqueue.engine.sql import access


def warm_up() -> None:
    """Import the URLs and their views, and build the serializers and statements. Opens no database connection."""
    # Django prepares the URLs per language: for reverse() in that of the views, for resolve() in that of the project.
    with suppress(NoReverseMatch, Resolver404):  # a project may leave the API out
        with translation.override("en"):
            path = reverse("taskqueue:task-status", args=[uuid.UUID(int=0)])
        resolve("/" + path.removeprefix(get_script_prefix()))
    for serializer in (SUBMITTED, *PROGRESS.values()):
        _ = serializer.fields
    access.find_token(with_permissions=uses_model_permissions(tuple(settings.AUTHENTICATION_BACKENDS)))
    access.read_grants(of_all=False)
