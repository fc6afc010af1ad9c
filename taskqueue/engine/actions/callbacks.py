"""Callback URLs: an address of one task, which is called when the task has ended."""

from __future__ import annotations

from taskqueue.conf import settings
from taskqueue.engine.access.permissions import Action, CallerPermissions
from taskqueue.errors import NotPermitted
from taskqueue.models import Task
from taskqueue.webhooks.addresses import RefusedAddress, parse_address


def callback_problem(address: str) -> str:
    """Why a callback URL cannot be called, or nothing would sign the call; "" if it can, and for an empty one."""
    if not address:
        return ""
    try:
        parse_address(address, allow_private=settings().WEBHOOKS_ALLOW_PRIVATE)
    except RefusedAddress as error:
        return str(error)
    return "" if settings().WEBHOOKS_SECRET else "This service has no secret to sign calls (setting WEBHOOKS_SECRET)."


def require_submission(permissions: CallerPermissions, pipeline: str, address: str) -> None:
    """Refuse a caller who may not submit this task. The call carries its result, so it needs that permission too.

    Raises:
        NotPermitted
    """
    permissions.require(Action.RUN, pipeline)
    if address and not permissions.has_grant(Action.VIEW_PAYLOAD, pipeline):
        raise NotPermitted(f"You may not view results of pipeline {pipeline!r}, so its tasks cannot call an address.")


def set_callback(task: Task, address: str) -> None:
    """Give a new task its callback URL, in the transaction that creates it. An existing task keeps its own."""
    if address and not task.duplicate:
        Task.objects.filter(pk=task.pk).update(callback_url=address, notify_completion=True)
        task.callback_url = address
