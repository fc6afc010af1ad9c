"""The navigation beside every page: where one can go, and what needs a look."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlencode

from django.apps import apps
from django.contrib.admin import AdminSite
from django.http import HttpRequest
from django.urls import reverse
from django.utils.safestring import SafeString

from taskqueue.admin.shared import html
from taskqueue.admin.shared.filters import written_slice
from taskqueue.admin.shared.formats import capped
from taskqueue.engine.queries.stats import DAY, Pills, pills

CAP: Final = 999


@dataclass(frozen=True)
class Place:
    """Somewhere to go: a model's list, and which part of it."""

    name: str
    icon: str
    model: str
    query: str = ""


PLACES: Final = (
    Place("Overview", "grid", "taskqueue.overview"),
    Place("Tasks", "list", "taskqueue.task"),
    Place("Failures", "cross", "taskqueue.task", "status=failed"),
    Place("Pipelines", "flow", "taskqueue.pipeline"),
    Place("Workers", "server", "taskqueue.worker"),
    Place("Events", "bolt", "taskqueue.event"),
    Place("Schedules", "calendar", "taskqueue.schedule"),
    Place("Rates", "gauge", "taskqueue.rate"),
    Place("Operations", "stack", "taskqueue.operation"),
    Place("Tokens", "key", "taskqueue.token"),
    Place("Audit", "book", "admin.logentry"),
)


@dataclass(frozen=True)
class Pill:
    """A number beside an entry, what it means, and whether that is bad."""

    text: str
    title: str
    tone: str = ""


@dataclass(frozen=True)
class Entry:
    """A link."""

    name: str
    address: str
    icon: SafeString
    is_current: bool
    pill: Pill | None


def entries_for(request: HttpRequest, site: AdminSite) -> list[Entry]:
    """Where a user may go; one query for the numbers if it is anywhere."""
    places = [place for place in PLACES if is_open(place, request, site)]
    if not places:
        return []
    numbers = pills()
    shown = dict(pills_of(numbers))
    here = request.get_full_path()
    if request.path == reverse("admin:taskqueue_overview_changelist", current_app=site.name):
        here = address_of(PLACES[0], site)
    entries = [(place, address_of(place, site)) for place in places]
    current = current_of([address for _place, address in entries], here)
    return [
        Entry(
            place.name,
            address + (failed_today(numbers) if place.name == "Failures" else ""),
            html.icon(place.icon),
            address == current,
            shown.get(place.name),
        )
        for place, address in entries
    ]


def failed_today(numbers: Pills) -> str:
    """What narrows the failures to those that the number beside them counts; all are shown while it counts none."""
    if not numbers.failed_today or numbers.today is None:
        return ""
    # To the end of the day, not to where the counting ends: that moves, and pages refresh what has changed.
    return "&" + urlencode({"ended": written_slice(numbers.today, numbers.today + DAY)}, safe=":.,")


def is_open(place: Place, request: HttpRequest, site: AdminSite) -> bool:
    """Whether there is such a page, and the user may see it."""
    label, name = place.model.split(".")
    if name not in apps.all_models[label]:
        return False
    model = apps.get_model(label, name)
    return site.is_registered(model) and site.get_model_admin(model).has_view_permission(request)


def address_of(place: Place, site: AdminSite) -> str:
    """Where it leads."""
    if place.name == "Overview" and getattr(site, "index_is_overview", False):
        return reverse("admin:index", current_app=site.name)
    address = reverse(f"admin:{place.model.replace('.', '_')}_changelist", current_app=site.name)
    return f"{address}?{place.query}" if place.query else address


def current_of(addresses: list[str], here: str) -> str:
    """Of several addresses the one that leads to this page, or to what it is a part of; the longest that does."""
    path = here.partition("?")[0]
    overview = addresses[0]
    fitting = [
        address
        for address in addresses
        if (here.startswith(address) if "?" in address else path.startswith(address))
        and (address != overview or path == overview)
    ]
    return max(fitting, key=len, default="")


def pills_of(numbers: Pills) -> Iterator[tuple[str, Pill]]:
    """What the numbers are worth saying."""
    if numbers.failed_today:
        yield "Failures", Pill(capped(numbers.failed_today, CAP), "failed today (UTC)", "bad")
    if numbers.paused:
        yield "Pipelines", Pill(f"{capped(numbers.paused, CAP)} paused", "pipelines that somebody has paused", "poor")
    if numbers.unable_workers:
        text = f"{capped(numbers.unable_workers, CAP)} cannot claim"
        yield "Workers", Pill(text, "worker processes that cannot claim tasks", "bad")
        return
    tone = "" if numbers.live_workers else "bad"
    yield "Workers", Pill(f"{capped(numbers.live_workers, CAP)} live", "worker processes that beat", tone)
