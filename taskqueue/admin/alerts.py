"""Alert rules: what is checked, what fires, and the recipients. They are changed, silenced and tested here."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.db.models.functions import Now
from django.http import HttpRequest, HttpResponse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from taskqueue.admin.shared import formats, html, task_actions
from taskqueue.admin.shared.links import app_url, link, list_url, page_url, view_url
from taskqueue.admin.shared.models import ChangeableAdmin
from taskqueue.admin.shared.pages import FORM, POST, admin_page, redirect, row_of_button
from taskqueue.engine.access.actor import SYSTEM
from taskqueue.engine.actions import alerts
from taskqueue.engine.actions.alerts import FIELDS
from taskqueue.engine.alerts.conditions import CONDITIONS
from taskqueue.engine.alerts.messages import LABEL
from taskqueue.forms.form_values import seconds_in
from taskqueue.models import Alert, AlertRule
from taskqueue.models.alert import RECIPIENTS

CHANGE = "taskqueue.change_alertrule"
LONGEST = timedelta(days=365)


class LengthField(forms.DurationField):
    """A length of time, written as `90`, `15m` or `2h 30m`."""

    def prepare_value(self, value: Any) -> Any:
        return formats.compact_duration(value.total_seconds()) if isinstance(value, timedelta) else value

    def to_python(self, value: Any) -> timedelta | None:
        if value in self.empty_values or isinstance(value, timedelta):
            return value or None
        seconds = seconds_in(value)
        if seconds is None or seconds > LONGEST.total_seconds():
            raise ValidationError("Write seconds, or a length such as 15m or 2h 30m, up to 365 days.")
        return timedelta(seconds=seconds)


class AlertRuleForm(forms.ModelForm):  # type: ignore[type-arg]  # the class takes no type arguments at run time
    condition = forms.ChoiceField(
        choices=[(name, f"{each.title} ({each.unit})") for name, each in CONDITIONS.items()],
        help_text="What is checked, and the unit of the threshold.",
    )
    hold_for = LengthField(label="For", help_text="How long the condition must hold before it fires: 0, 90s, 15m.")
    repeat_every = LengthField(
        label="Repeat", required=False, help_text="How often to remind while it fires: 30m, 4h. Empty: never."
    )

    class Meta:
        model = AlertRule
        fields = FIELDS
        widgets = {field: forms.Textarea({"rows": 3, "class": "vLargeTextField"}) for field in RECIPIENTS.values()}


class SilenceForm(forms.Form):
    length = LengthField(label="For how long", initial=timedelta(hours=1), help_text="Such as 15m, 2h or 3d.")
    reason = forms.CharField(max_length=300, help_text="Shown with the rule and on the overview.")


def changed_one(request: HttpRequest, object_id: str) -> AlertRule | None:
    """The rule of a button, with the database's time."""
    return row_of_button(request, object_id, AlertRule.objects.annotate(seen_at=Now()), CHANGE)


def gone(own: Any, request: HttpRequest) -> HttpResponse:
    message = "There is no such alert rule; nothing was done."
    return redirect(own, request, list_url("alertrule"), message, messages.WARNING)


def test_view(own: Any, request: HttpRequest, object_id: str) -> HttpResponse:
    """Send a test message to each recipient."""
    rule = changed_one(request, object_id)
    if rule is None:
        return gone(own, request)
    address = page_url("alertrule", rule.pk)
    if not alerts.send_test(rule, actor=task_actions.actor_of(request)):
        return redirect(own, request, address, "The rule has no recipients. Save some first.", messages.WARNING)
    address = list_url("task", label=f"{LABEL}={rule.pk}")
    return redirect(own, request, address, "The newest of these tasks send the test message, one to each recipient.")


def silence_view(own: Any, request: HttpRequest, object_id: str) -> HttpResponse:
    """Ask for how long and why, and silence the rule."""
    rule: Any = changed_one(request, object_id)
    if rule is None:
        return gone(own, request)
    form = SilenceForm(request.POST if request.method == "POST" else None)
    address = page_url("alertrule", rule.pk)
    if not form.is_valid():
        context = {"rule": rule, "form": form, "back": address}
        return admin_page(own, request, "alertrule/silence.html", f"Silence {rule}", context)
    until = rule.seen_at + form.cleaned_data["length"]
    alerts.silence(rule, until, form.cleaned_data["reason"], actor=task_actions.actor_of(request))
    return redirect(own, request, address, f"The rule sends nothing until {formats.exact(until)}.")


def end_silence_view(own: Any, request: HttpRequest, object_id: str) -> HttpResponse:
    rule = changed_one(request, object_id)
    if rule is None:
        return gone(own, request)
    address = page_url("alertrule", rule.pk)
    if not alerts.end_silence(rule, actor=task_actions.actor_of(request)):
        return redirect(own, request, address, "The rule is not silenced.", messages.WARNING)
    return redirect(own, request, address, "The rule sends messages again.")


@admin.register(AlertRule)
class AlertRuleAdmin(ChangeableAdmin[AlertRule]):
    """Alert rules by name. Each action needs Django's permission for it."""

    form = AlertRuleForm
    list_display = ("name", "checks", "recipients", "state", "checked")
    readonly_fields = ("state", "firing", "recipients", "sent", "buttons")
    fieldsets = (
        (None, {"fields": FIELDS}),
        ("State", {"fields": ("state", "firing", "recipients", "sent", "buttons")}),
    )
    checked = html.moment_column("Checked", "evaluated_at")
    views = (
        ("<path:object_id>/test/", "test", test_view, POST),
        ("<path:object_id>/silence/", "silence", silence_view, FORM),
        ("<path:object_id>/end-silence/", "end_silence", end_silence_view, POST),
    )

    def has_add_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("taskqueue.add_alertrule")

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm("taskqueue.delete_alertrule")

    def get_queryset(self, request: HttpRequest) -> QuerySet[AlertRule]:
        return super().get_queryset(request).prefetch_related("alerts")

    def save_model(self, request: HttpRequest, obj: AlertRule, form: Any, change: Any) -> None:
        """Write the form's fields only: an evaluation writes others meanwhile. Django writes the log entry."""
        alerts.save(obj, actor=SYSTEM)

    def delete_model(self, request: HttpRequest, obj: AlertRule) -> None:
        """Delete the rule with its alerts. Django writes the log entry."""
        alerts.delete(obj, actor=SYSTEM)

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[Any, ...]:
        fields = tuple(super().get_readonly_fields(request, obj))
        if obj is None:
            return ()
        return fields if request.user.has_perm(CHANGE) else tuple(each for each in fields if each != "buttons")

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        """Addresses are shown to users who may change them: with that of a chat, anyone can write to it."""
        readonly = self.get_readonly_fields(request, obj)
        may_see = obj is None or request.user.has_perm(CHANGE)
        own = [field for field in FIELDS if may_see or field not in RECIPIENTS.values()]
        return [(None, {"fields": own}), ("State", {"fields": readonly})] if readonly else [(None, {"fields": own})]

    @admin.display(description="Checks")
    def checks(self, rule: AlertRule) -> SafeString:
        condition = CONDITIONS.get(rule.condition)
        unit = condition.unit.capitalize() if condition else f"Unknown condition {rule.condition}"
        length = f", for {formats.compact_duration(rule.hold_for.total_seconds())}" if rule.hold_for else ""
        return html.with_note(f"{unit}: {rule.threshold:g}{length}", ", ".join(rule.subjects))

    @admin.display(description="Recipients")
    def recipients(self, rule: AlertRule) -> str:
        counts = Counter(channel for channel, _address in rule.recipients)
        return ", ".join(f"{number} {channel}" for channel, number in counts.items()) or "only the overview"

    @admin.display(description="State")
    def state(self, rule: Any) -> SafeString | str:
        if not rule.is_enabled:
            return "disabled"
        firing = [alert for alert in rule.alerts.all() if alert.firing_since is not None]
        if firing:
            state: SafeString | str = html.badge("failed", label=f"{len(firing)} firing")
        else:
            state = f"{len(rule.alerts.all())} pending" if rule.alerts.all() else "fine"
        if not rule.is_silenced_at(rule.seen_at):
            return state
        until = html.due("ends", rule.silenced_until, rule.seen_at)
        return html.with_note(
            state, format_html("silenced by {} ({}), {}", rule.silenced_by, rule.silence_reason, until)
        )

    @admin.display(description="Alerts")
    def firing(self, rule: Any) -> SafeString | str:
        rows = ((self.alert_line(alert, rule),) for alert in rule.alerts.all())
        return format_html_join("", "<p>{}</p>", rows) or "none"

    def alert_line(self, alert: Alert, rule: Any) -> SafeString:
        state, since = (
            ("firing since", alert.firing_since) if alert.firing_since else ("pending since", alert.pending_since)
        )
        text = f"{alert.subject}: {alert.text}" if alert.subject else alert.text
        note = format_html("{} {}", state, html.moment(since, rule.seen_at))
        return html.with_note(link(app_url(alert.link), text), note)

    @admin.display(description="Messages")
    def sent(self, rule: AlertRule) -> SafeString:
        return link(list_url("task", label=f"{LABEL}={rule.pk}"), "All messages")

    @admin.display(description="Actions")
    def buttons(self, rule: Any) -> SafeString:
        test = self.button("test", rule, "Send a test message")
        if rule.is_silenced_at(rule.seen_at):
            return test + self.button("end_silence", rule, "End the silence")
        return test + format_html(
            '<a class="tq-button" href="{}">Silence…</a>', view_url("alertrule", "silence", rule.pk)
        )

    def button(self, view: str, rule: AlertRule, text: str) -> SafeString:
        return format_html(
            '<button type="submit" class="tq-button" formnovalidate formaction="{}">{}</button> ',
            view_url("alertrule", view, rule.pk),
            text,
        )
