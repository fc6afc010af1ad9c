"""The navigation on every page: links to the lists that the user may see, with badges for what needs attention."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlencode

from django.apps import apps
from django.contrib.admin import AdminSite
from django.http import HttpRequest
from django.urls import reverse

from taskqueue.admin.shared import html
from taskqueue.admin.shared.filters import format_time_range
from taskqueue.admin.shared.formats import capped
from taskqueue.engine.access.answering import open_questions
from taskqueue.engine.access.permissions import Action, CallerPermissions
from taskqueue.engine.queries.stats import DAY, BadgeCounts, badge_counts

BADGE_LIMIT: Final = 999
QUESTION: Final = "taskqueue.question"


@dataclass(frozen=True)
class MenuItem:
    """A link to the list of a model, optionally filtered by a query string."""

    name: str
    icon: str
    model: str
    query: str = ""


MENU: Final = (
    MenuItem("Overview", "grid", "taskqueue.overview"),
    MenuItem("Waiting for you", "question", QUESTION),
    MenuItem("Tasks", "list", "taskqueue.task"),
    MenuItem("Failures", "cross", "taskqueue.task", "status=failed"),
    MenuItem("Pipelines", "flow", "taskqueue.pipeline"),
    MenuItem("Workers", "server", "taskqueue.worker"),
    MenuItem("Events", "bolt", "taskqueue.event"),
    MenuItem("Schedules", "calendar", "taskqueue.schedule"),
    MenuItem("Rate limits", "gauge", "taskqueue.ratelimit"),
    MenuItem("Bulk operations", "stack", "taskqueue.bulkoperation"),
    MenuItem("Alert rules", "bell", "taskqueue.alertrule"),
    MenuItem("Subscriptions", "right", "taskqueue.subscription"),
    MenuItem("Tokens", "key", "taskqueue.token"),
    MenuItem("Audit", "book", "admin.logentry"),
)


def entries_for(request: HttpRequest, site: AdminSite) -> list[dict[str, Any]]:
    """The links for this user. One query for all badges, and two more while questions are open."""
    items = [item for item in MENU if may_view(item, request, site)]
    counts = badge_counts()
    rights = CallerPermissions(request.user)
    questions = count_questions(rights) if counts.questions else 0
    if not questions and not rights.has_permission(Action.RETRY):
        items = [item for item in items if item.model != QUESTION]
    if not items:
        return []
    badges = {**dict(badges_of(counts)), **question_badge(questions)}
    here = request.get_full_path()
    if request.path == reverse("admin:taskqueue_overview_changelist", current_app=site.name):
        here = address_of(MENU[0], site)
    entries = [(item, address_of(item, site)) for item in items]
    current = current_of([address for _item, address in entries], here)
    return [
        {
            "name": item.name,
            "address": address + (filter_of_today(counts) if item.name == "Failures" else ""),
            "icon": html.icon(item.icon),
            "is_current": address == current,
            "badge": badges.get(item.name),
        }
        for item, address in entries
    ]


def count_questions(rights: CallerPermissions) -> int:
    """How many open questions the user may answer, counted only as far as a badge shows it."""
    return open_questions(rights).order_by()[: BADGE_LIMIT + 1].count()


def question_badge(count: int) -> dict[str, dict[str, str]]:
    return {"Waiting for you": badge(count, "", "questions that you may answer", "poor")} if count else {}


def filter_of_today(counts: BadgeCounts) -> str:
    """The filter for the failures that the badge counts; empty when it counts none, so that the link shows all."""
    if not counts.failed_today or counts.today is None:
        return ""
    # Until the end of the day, not until the end of the counted time: that moves, and would change the page each time.
    return "&" + urlencode({"ended": format_time_range(counts.today, counts.today + DAY)}, safe=":.,")


def may_view(item: MenuItem, request: HttpRequest, site: AdminSite) -> bool:
    label, name = item.model.split(".")
    if name not in apps.all_models[label]:
        return False
    model = apps.get_model(label, name)
    return site.is_registered(model) and site.get_model_admin(model).has_view_permission(request)


def address_of(item: MenuItem, site: AdminSite) -> str:
    if item.name == "Overview" and getattr(site, "index_is_overview", False):
        return reverse("admin:index", current_app=site.name)
    address = reverse(f"admin:{item.model.replace('.', '_')}_changelist", current_app=site.name)
    return f"{address}?{item.query}" if item.query else address


def current_of(addresses: list[str], here: str) -> str:
    """The longest of these addresses that is a prefix of this page's address; empty when none is."""
    path = here.partition("?")[0]
    overview = addresses[0]
    matching = [
        address
        for address in addresses
        if (here.startswith(address) if "?" in address else path.startswith(address))
        and (address != overview or path == overview)
    ]
    return max(matching, key=len, default="")


def badges_of(counts: BadgeCounts) -> Iterator[tuple[str, dict[str, str]]]:
    """The badges by the name of their entry; counts that are normal have none. The tone is "bad", "poor" or empty."""
    if counts.failed_today:
        yield "Failures", badge(counts.failed_today, "", "failed today (UTC)", "bad")
    if counts.firing:
        yield "Alert rules", badge(counts.firing, " firing", "alerts that fire now", "bad")
    if counts.paused:
        yield "Pipelines", badge(counts.paused, " paused", "paused pipelines", "poor")
    if counts.failing_workers:
        title = "worker processes that cannot claim tasks"
        yield "Workers", badge(counts.failing_workers, " cannot claim", title, "bad")
    else:
        tone = "" if counts.live_workers else "bad"
        yield "Workers", badge(counts.live_workers, " live", "live workers, one for each thread of a process", tone)


def badge(count: int, words: str, title: str, tone: str) -> dict[str, str]:
    return {"text": capped(count, BADGE_LIMIT) + words, "title": title, "tone": tone}
