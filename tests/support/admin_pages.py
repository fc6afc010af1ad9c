"""Where the admin's pages are, and what a page says."""

from __future__ import annotations

import re
from html import unescape
from typing import Any

from django.urls import reverse

LIST = "/admin/taskqueue/task/"


def page_of(task: Any) -> str:
    """The address of a task's page."""
    return reverse("admin:taskqueue_task_change", args=[task.pk])


def button_of(task: Any, noun: str) -> str:
    """The address that a button posts to."""
    return reverse(f"admin:taskqueue_task_{noun}", args=[task.pk])


def text_of(response: Any) -> str:
    """What a reader sees: no tags, single spaces. On a busy machine what is just now was some seconds ago."""
    content = re.sub(r"<(script|style).*?</\1>", "", response.content.decode().replace("<wbr>", ""), flags=re.DOTALL)
    text = " ".join(unescape(re.sub(r"<[^>]+>", " ", content)).split())
    return re.sub(r"\b[1-5]?[0-9]s ago\b", "just now", text)


def ids_on(response: Any) -> list[str]:
    """The ids of the tasks on a list, from top to bottom."""
    return re.findall(r'class="tq-id" title="([^"]+)"', response.content.decode())


def messages_of(response: Any) -> list[str]:
    """What the admin says at the top of the page."""
    return [str(message) for message in response.context["messages"]]
