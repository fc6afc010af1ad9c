"""URLs of admin pages, and the text of responses."""

from __future__ import annotations

import re
from html import unescape
from typing import Any

from django.urls import reverse

LIST = "/admin/taskqueue/task/"


def page_of(task: Any) -> str:
    """The URL of a task's page."""
    return reverse("admin:taskqueue_task_change", args=[task.pk])


def button_of(task: Any, action: str) -> str:
    """The URL of a button."""
    return reverse(f"admin:taskqueue_task_{action}", args=[task.pk])


def text_of(response: Any) -> str:
    """The visible text with single spaces; "5s ago" reads "just now", because test machines may be slow."""
    content = re.sub(r"<(script|style).*?</\1>", "", response.content.decode().replace("<wbr>", ""), flags=re.DOTALL)
    text = " ".join(unescape(re.sub(r"<[^>]+>", " ", content)).split())
    return re.sub(r"\b[1-5]?[0-9]s ago\b", "just now", text)


def ids_on(response: Any) -> list[str]:
    """The ids of the tasks on a list, in order."""
    return re.findall(r'class="tq-id" title="([^"]+)"', response.content.decode())


def messages_of(response: Any) -> list[str]:
    """The admin's messages at the top of the page."""
    return [str(message) for message in response.context["messages"]]
