"""Subscriptions to the ends of tasks: add, change, disable and test them. A secret is shown once, when it is made."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.db.models import CharField, OuterRef, QuerySet, Subquery, Value
from django.db.models.functions import Cast, Concat, JSONObject
from django.http import HttpRequest, HttpResponse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from taskqueue.admin.object_tasks import TasksOfObject
from taskqueue.admin.shared import formats, html, task_actions
from taskqueue.admin.shared.links import link, list_url, page_url, view_url
from taskqueue.admin.shared.models import ChangeableAdmin
from taskqueue.admin.shared.pages import POST, admin_page, redirect, row_of_button
from taskqueue.engine.actions import subscriptions
from taskqueue.engine.actions.subscriptions import FIELDS
from taskqueue.engine.tasks.deliveries import LABEL
from taskqueue.models import Subscription, Task
from taskqueue.models.subscription import ENDINGS

ADD, CHANGE = "taskqueue.add_subscription", "taskqueue.change_subscription"


class SubscriptionForm(forms.ModelForm):  # type: ignore[type-arg]  # the class takes no type arguments at run time
    endings = forms.MultipleChoiceField(
        choices=[(ending.value, ending.value.capitalize()) for ending in ENDINGS],
        initial=[ending.value for ending in ENDINGS],
        widget=forms.CheckboxSelectMultiple,
        help_text="The ends that it is called for.",
    )

    class Meta:
        model = Subscription
        fields = FIELDS
        help_texts = {
            "pipelines": "Names of pipelines, or their beginnings with an asterisk, such as shop/*, with commas. "
            "Empty: all.",
        }


def changed_one(request: HttpRequest, object_id: str) -> Subscription | None:
    return row_of_button(request, object_id, Subscription.objects.all(), CHANGE)


def rotate_view(own: Any, request: HttpRequest, object_id: str) -> HttpResponse:
    """Make a new secret, and show it."""
    subscription = changed_one(request, object_id)
    if subscription is None:
        return gone(own, request)
    secret = subscriptions.rotate(subscription, actor=task_actions.actor_of(request))
    return secret_page(own, request, subscription, secret, is_rotated=True)


def test_view(own: Any, request: HttpRequest, object_id: str) -> HttpResponse:
    """Send a test event."""
    subscription = changed_one(request, object_id)
    if subscription is None:
        return gone(own, request)
    task = subscriptions.send_test(subscription, actor=task_actions.actor_of(request))
    return redirect(own, request, page_url("task", task.pk), "A test event is being delivered by this task.")


def gone(own: Any, request: HttpRequest) -> HttpResponse:
    message = "There is no such subscription; nothing was done."
    return redirect(own, request, list_url("subscription"), message, messages.WARNING)


def secret_page(
    own: Any, request: HttpRequest, subscription: Subscription, secret: str, *, is_rotated: bool = False
) -> HttpResponse:
    """The only page that shows the secret. It is not cached."""
    context = {
        "subscription": subscription,
        "secret": secret,
        "is_rotated": is_rotated,
        "list_address": list_url("subscription"),
    }
    response = admin_page(own, request, "subscription/add_form.html", f"Subscription {subscription}", context)
    response["Cache-Control"] = "no-store"
    return response


@admin.register(Subscription)
class SubscriptionAdmin(TasksOfObject[Subscription], ChangeableAdmin[Subscription]):  # type: ignore[misc]  # two Media
    """Subscriptions, newest first. Each action needs Django's permission for it."""

    form = SubscriptionForm
    list_display = ("name", "filters", "state", "last_delivery", "created")
    ordering = ("-id",)
    readonly_fields = ("state", "saved_by", "signing_secret", "deliveries", "buttons")
    fieldsets = (
        (None, {"fields": FIELDS}),
        ("State", {"fields": ("state", "saved_by", "signing_secret", "deliveries", "buttons")}),
    )
    actions: Any = ("enable_selected", "disable_selected")
    created = html.moment_column("Created", "created_at")
    views = (
        ("<path:object_id>/rotate/", "rotate", rotate_view, POST),
        ("<path:object_id>/test/", "test", test_view, POST),
    )

    def has_add_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm(ADD)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm("taskqueue.delete_subscription")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Subscription]:
        """Subscriptions with their last delivery, one look-up by an index for each row."""
        subject = Concat(Value("taskqueue.subscription:"), Cast(OuterRef("pk"), CharField()))
        last = Task.objects.filter(subject=subject).order_by("-pk").values(pair=JSONObject(id="id", status="status"))
        return super().get_queryset(request).select_related("user").annotate(last_task=Subquery(last[:1]))

    def add_view(self, request: HttpRequest, form_url: str = "", extra_context: Any = None) -> HttpResponse:
        """The form. A valid POST is answered with the only page that shows the secret: no redirect."""
        if not self.has_add_permission(request):
            raise PermissionDenied
        form = SubscriptionForm(request.POST if request.method == "POST" else None)
        if form.is_bound and form.is_valid():
            subscription = form.save(commit=False)
            subscriptions.save(subscription, actor=task_actions.actor_of(request))
            return secret_page(self, request, subscription, subscription.secret)
        context = {"form": form, "list_address": list_url("subscription")}
        return admin_page(self, request, "subscription/add_form.html", "Add subscription", context)

    def save_model(self, request: HttpRequest, obj: Subscription, form: Any, change: Any) -> None:
        """Write the form's fields only: a delivery may count a failure meanwhile. Django writes the log entry."""
        obj.user_id = request.user.pk
        obj.save(update_fields=[*FIELDS, "user"])

    @admin.action(description="Enable selected subscriptions", permissions=["change"])
    def enable_selected(self, request: HttpRequest, queryset: QuerySet[Subscription]) -> None:
        actor = task_actions.actor_of(request)
        with transaction.atomic():
            count = sum(subscriptions.enable(each, actor=actor) for each in queryset)
        self.message_user(request, f"{formats.count_of(count, 'subscription')} enabled.")

    @admin.action(description="Disable selected subscriptions", permissions=["change"])
    def disable_selected(self, request: HttpRequest, queryset: QuerySet[Subscription]) -> None:
        actor = task_actions.actor_of(request)
        with transaction.atomic():
            count = sum(subscriptions.disable(each, actor=actor) for each in queryset)
        self.message_user(request, f"{formats.count_of(count, 'subscription')} disabled.")

    @admin.display(description="Subscription")
    def name(self, subscription: Subscription) -> SafeString | str:
        return html.with_note(str(subscription), subscription.address if subscription.description else "")

    @admin.display(description="Called for")
    def filters(self, subscription: Subscription) -> SafeString:
        labels = ", ".join(f"{name}={value}" for name, value in subscription.labels.items())
        pipelines = ", ".join(subscription.pipelines) or "all pipelines"
        return html.with_note(pipelines, "; ".join(filter(None, [", ".join(subscription.endings), labels])))

    @admin.display(description="State")
    def state(self, subscription: Any) -> SafeString | str:
        if subscription.disabled_at is not None:
            since = format_html("disabled {}", html.moment(subscription.disabled_at, subscription.seen_at))
            return html.with_note(since, subscription.disabled_reason)
        failing = formats.count_of(subscription.failures, "delivery", "deliveries")
        return html.with_note("enabled", f"{failing} failed in a row" if subscription.failures else "")

    @admin.display(description="Last delivery")
    def last_delivery(self, subscription: Any) -> SafeString | str:
        if subscription.last_task is None:
            return "none yet"
        return link(page_url("task", subscription.last_task["id"]), html.badge(subscription.last_task["status"]))

    @admin.display(description="Saved by")
    def saved_by(self, subscription: Subscription) -> str:
        return f"{subscription.user or 'code'}: it is sent what this user may see"

    @admin.display(description="Secret")
    def signing_secret(self, subscription: Any) -> str:
        is_double = len(subscription.secrets_at(subscription.seen_at)) > 1
        return "whsec_… (the old one signs too)" if is_double else "whsec_…"

    @admin.display(description="Deliveries")
    def deliveries(self, subscription: Subscription) -> SafeString:
        return link(list_url("task", label=f"{LABEL}={subscription.pk}"), "All deliveries")

    @admin.display(description="Actions")
    def buttons(self, subscription: Subscription) -> SafeString:
        return format_html(
            '<button type="submit" class="tq-button" formnovalidate formaction="{}">Send a test event</button> '
            '<button type="submit" class="tq-button" formnovalidate formaction="{}"'
            ' title="The old secret signs too for 24 hours.">Rotate the secret</button>',
            view_url("subscription", "test", subscription.pk),
            view_url("subscription", "rotate", subscription.pk),
        )

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[Any, ...]:
        fields = super().get_readonly_fields(request, obj)
        may_change = request.user.has_perm(CHANGE)
        return tuple(field for field in fields if may_change or field != "buttons")

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        shown = {*FIELDS, *self.get_readonly_fields(request, obj)}
        return [(name, {**options, "fields": [field for field in options["fields"] if field in shown]})
                for name, options in super().get_fieldsets(request, obj)]  # fmt: skip
