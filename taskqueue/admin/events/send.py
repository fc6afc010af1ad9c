"""The form that sends an event: name, data and the sender's ID, by the engine function that the API uses."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import messages
from django.core.exceptions import PermissionDenied, ValidationError
from django.db import transaction
from django.http import HttpRequest, HttpResponse

from taskqueue.admin.shared.links import page_url
from taskqueue.admin.shared.pages import admin_page, redirect
from taskqueue.admin.shared.task_actions import actor_of
from taskqueue.engine.access.permissions import CallerPermissions
from taskqueue.engine.actions.events import send_event
from taskqueue.errors import InvalidEvent, KeyReused, NotSerializable, TaskqueueError
from taskqueue.forms.form_values import parse_json
from taskqueue.models import Event, Trigger

SEND = "taskqueue.add_event"
"""The permission, the one that `POST /api/events` needs."""
NAMES_OFFERED = 200


class EventForm(forms.Form):
    """An event to send. The engine checks what is required."""

    name = forms.CharField(
        required=False,
        widget=forms.TextInput(attrs={"list": "event-names", "autocomplete": "off", "aria-required": "true"}),
        help_text="Such as order/paid. It starts pipelines and resolves waits that listen for this name.",
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
        label="ID",
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
        help_text="The sender's ID. A second event with this ID within 24 hours is not sent. Empty: always sent.",
    )

    def clean_content(self) -> Any:
        try:
            return parse_json(self.cleaned_data["content"].strip() or "{}")
        except ValueError as error:
            raise ValidationError(str(error)) from error


@transaction.non_atomic_requests
def send_view(admin: Any, request: HttpRequest) -> HttpResponse:
    # Not in a transaction, because an event is routed after its commit, and its page shows the effects.
    if not request.user.has_perm(SEND):
        raise PermissionDenied
    form = EventForm(request.POST) if request.method == "POST" else EventForm(initial=initial_of(request))
    if form.is_valid() and (event := send(form, request)) is not None:
        address = page_url("event", event.pk)
        if event.duplicate:
            message = "Not sent: an event with this ID exists already."
            return redirect(admin, request, address, message, messages.WARNING)
        return redirect(admin, request, address, "The event is sent. Its effects are listed below.")
    context = {
        "form": form,
        "names": Trigger.objects.order_by("event").values_list("event", flat=True).distinct()[:NAMES_OFFERED],
    }
    return admin_page(admin, request, "event/send.html", "Send an event", context)


def initial_of(request: HttpRequest) -> dict[str, str]:
    return {"name": request.GET["name"][:200]} if "name" in request.GET else {}


def send(form: EventForm, request: HttpRequest) -> Event | None:
    """Send the event with a log entry. None when it was refused; the form then has the errors."""
    values = form.cleaned_data
    try:
        return send_event(
            values["name"],
            values["content"],
            actor=actor_of(request),
            rights=CallerPermissions(request.user),
            external_id=values["id"],
            message="Sent by form.",
        )
    except InvalidEvent as refusal:
        for error in refusal.errors:
            name = error.pointer.strip("/")
            form.add_error("content" if name == "data" else name or None, error.detail)
    except NotSerializable as refusal:
        for error in refusal.errors:
            form.add_error("content", f"{error.pointer} {error.detail}".strip())
    except KeyReused as refusal:
        form.add_error("id", refusal.detail)
    except TaskqueueError as refusal:
        form.add_error("content", refusal.detail)
    return None
