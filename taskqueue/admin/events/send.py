"""Sending an event by a form: name, data and the sender's id, through the same function as the API."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import messages
from django.core.exceptions import PermissionDenied, ValidationError
from django.db import transaction
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.urls import URLPattern, path, reverse

from taskqueue.admin.shared.json_input import read
from taskqueue.admin.shared.pages import framed
from taskqueue.admin.shared.task_actions import actor_of
from taskqueue.engine.access.permissions import Rights
from taskqueue.engine.actions import audited
from taskqueue.errors import InvalidEvent, KeyReused, NotSerializable, TaskqueueError
from taskqueue.models import Event, Trigger

NEEDS = "taskqueue.add_event"
"""As `POST /api/events` does."""
NAMES_SHOWN = 200


class EventForm(forms.Form):
    """An event to send. What is required the engine says."""

    name = forms.CharField(
        required=False,
        widget=forms.TextInput(attrs={"list": "event-names", "autocomplete": "off", "aria-required": "true"}),
        help_text="Such as order/paid. It starts the pipelines and ends the waits that listen for it.",
    )
    content = forms.CharField(
        required=False,
        label="Data",
        initial="{}",
        widget=forms.Textarea(attrs={"rows": 8, "class": "tq-json-box", "spellcheck": "false"}),
        help_text="A JSON object.",
    )
    id = forms.CharField(
        required=False,
        label="Id",
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
        help_text="The sender's own id: the same one within 24 hours is the same event. Empty: each is a new one.",
    )

    def clean_content(self) -> Any:
        """JSON; the engine says whether it will do."""
        try:
            return read(self.cleaned_data["content"].strip() or "{}")
        except ValueError as error:
            raise ValidationError(str(error)) from error


class EventSending:
    """The address of the form, for `EventAdmin`."""

    admin_site: Any
    message_user: Any
    opts: Any
    media: Any

    def get_urls(self) -> list[URLPattern]:
        """Before the stock ones, which would take it for an id."""
        view = transaction.non_atomic_requests(self.admin_site.admin_view(self.send_view))
        return [path("send/", view, name="taskqueue_event_send"), *super().get_urls()]  # type: ignore[misc]  # ModelAdmin

    def send_view(self, request: HttpRequest) -> HttpResponse:
        """The form, and what it sends. Not in a transaction: an event is routed when it is committed."""
        if not request.user.has_perm(NEEDS):
            raise PermissionDenied
        if request.method not in {"GET", "HEAD", "POST"}:
            return HttpResponseNotAllowed(["GET", "HEAD", "POST"])
        form = EventForm(request.POST) if request.method == "POST" else EventForm(initial=initial_of(request))
        if form.is_valid() and (event := sent(form, request)) is not None:
            self.message_user(request, *account_of(event))
            return HttpResponseRedirect(reverse("admin:taskqueue_event_change", args=[event.pk]))
        context = {
            "form": form,
            "names": Trigger.objects.order_by("event").values_list("event", flat=True).distinct()[:NAMES_SHOWN],
        }
        return framed(self, request, "event/send.html", "Send an event", context)


def initial_of(request: HttpRequest) -> dict[str, str]:
    """The name that the address gives, if it gives one."""
    return {"name": request.GET["name"][:200]} if "name" in request.GET else {}


def sent(form: EventForm, request: HttpRequest) -> Event | None:
    """Send it, on the record of a user; None when it was refused, and the form then says why."""
    values = form.cleaned_data
    try:
        event = audited.send(
            values["name"],
            values["content"],
            actor=actor_of(request),
            rights=Rights(request.user),
            external_id=values["id"],
            said="Sent by form.",
        )
    except InvalidEvent as error:
        for fault in error.errors:
            name = fault.pointer.strip("/")
            form.add_error("content" if name == "data" else name or None, fault.detail)
    except NotSerializable as error:
        for fault in error.errors:
            form.add_error("content", f"{fault.pointer} {fault.detail}".strip())
    except KeyReused as error:
        form.add_error("id", error.detail)
    except TaskqueueError as error:
        form.add_error("content", error.detail)
    else:
        return event
    return None


def account_of(event: Event) -> tuple[str, int]:
    """What to tell of an event that was sent."""
    if event.duplicate:
        return "Nothing was sent: an event with this id came before, and this is it.", messages.WARNING
    return "The event is sent. What it started and ended is told below.", messages.SUCCESS
