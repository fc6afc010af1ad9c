"""API tokens: create one, whose secret is shown once; list and revoke them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.auth import get_user_model
from django.core.exceptions import PermissionDenied, ValidationError
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from taskqueue.admin.shared import formats, html, task_actions
from taskqueue.admin.shared.links import list_url
from taskqueue.admin.shared.models import ReadOnlyAdmin
from taskqueue.admin.shared.pages import admin_page
from taskqueue.engine.actions import tokens
from taskqueue.models import Token
from taskqueue.policies.limits import MAX_RATE_COUNT

LIFETIMES = ((1, "1 day"), (30, "30 days"), (90, "90 days"), (365, "1 year"), (0, "Never"))


class TokenForm(forms.Form):
    """Name, user, lifetime and request limit of a new token.

    The user is typed, not chosen from a list: there may be many. Only superusers can create tokens for other users.
    """

    name = forms.CharField(max_length=100, help_text="What it is for, such as nightly-import.")
    username = forms.CharField(label="User", help_text="The token has the permissions of this user.")
    days = forms.TypedChoiceField(choices=LIFETIMES, coerce=int, initial=90, label="Expires after")
    per_minute = forms.IntegerField(
        required=False,
        min_value=1,
        max_value=MAX_RATE_COUNT,
        label="Requests per minute",
        help_text="Empty: unlimited.",
    )

    def __init__(self, data: Any, *, creator: Any) -> None:
        super().__init__(data, initial={"username": creator.get_username()})
        self.fields["username"].disabled = not creator.is_superuser

    def clean_username(self) -> Any:
        name = self.cleaned_data["username"]
        users = get_user_model()
        user = users._default_manager.filter(**{users.USERNAME_FIELD: name}, is_active=True).first()
        if user is None:
            raise ValidationError(f"There is no active user {name!r}.")
        return user


@admin.register(Token)
class TokenAdmin(ReadOnlyAdmin[Token]):
    """Tokens, newest first. Creating one needs `add_token`, revoking one `change_token`."""

    list_display = ("name_and_prefix", "user", "state", "request_limit", "created", "last_used")
    list_select_related = ("user",)
    ordering = ("-id",)
    search_fields = ("name__startswith", "prefix__startswith")
    search_help_text = "Search by the beginning of the name or of the secret."
    fields = readonly_fields = ("name", "user", "secret_prefix", "state", "request_limit", "created", "last_used")
    actions = ("revoke_selected",)
    created = html.moment_column("Created", "created_at")

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm("taskqueue.add_token")

    def has_revoke_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("taskqueue.change_token")

    def add_view(self, request: HttpRequest, form_url: str = "", extra_context: Any = None) -> HttpResponse:
        """The form. A valid POST is answered with the only page that shows the secret: no redirect, not cached."""
        if not self.has_add_permission(request):
            raise PermissionDenied
        form = TokenForm(request.POST if request.method == "POST" else None, creator=request.user)
        token, secret = self.issue(request, form) if form.is_bound and form.is_valid() else (None, "")
        context = {
            "form": form,
            "token": token,
            "secret": secret,
            "list_address": list_url("token"),
        }
        title = "Add token" if token is None else f"Token {token.name}"
        response = admin_page(self, request, "token/add_form.html", title, context)
        response["Cache-Control"] = "no-store"
        return response

    def issue(self, request: HttpRequest, form: TokenForm) -> tuple[Token, str]:
        """Create the token, with a log entry; returns it and its secret."""
        days = form.cleaned_data["days"]
        with transaction.atomic():
            token, secret = tokens.issue(
                form.cleaned_data["username"],
                name=form.cleaned_data["name"],
                expires_in=timedelta(days=days) if days else None,
                per_minute=form.cleaned_data["per_minute"],
            )
            self.log_addition(request, token, f"Created for {token.user}.")
        return token, secret

    @admin.action(description="Revoke selected tokens", permissions=["revoke"])
    def revoke_selected(self, request: HttpRequest, queryset: QuerySet[Token]) -> None:
        active = list(queryset.filter(revoked_at=None).order_by("pk")[: task_actions.MAX_TASKS])
        count = sum(self.revoke(request, token) for token in active)
        if count:
            self.message_user(request, f"{formats.count_of(count, 'token')} revoked.", messages.SUCCESS)
        else:
            self.message_user(request, "All of them were revoked already.", messages.WARNING)

    def revoke(self, request: HttpRequest, token: Token) -> bool:
        with transaction.atomic():
            is_revoked = tokens.revoke(token.pk)
            if is_revoked:
                self.log_change(request, token, "Revoked.")
        return is_revoked

    @admin.display(description="Token")
    def name_and_prefix(self, token: Token) -> str:
        return str(token)

    @admin.display(description="Begins with")
    def secret_prefix(self, token: Token) -> str:
        return f"{token.prefix}…"

    @admin.display(description="State")
    def state(self, token: Any) -> SafeString | str:
        if token.revoked_at is not None:
            return format_html("revoked {}", html.moment(token.revoked_at, token.seen_at))
        if token.expires_at is None:
            return "valid, never expires"
        word = "expired" if token.expires_at <= token.seen_at else "valid, expires"
        return format_html("{} {}", word, html.moment(token.expires_at, token.seen_at))

    @admin.display(description="Requests per minute")
    def request_limit(self, token: Token) -> str:
        return "unlimited" if token.per_minute is None else f"{token.per_minute:,}"

    @admin.display(description="Last used")
    def last_used(self, token: Any) -> SafeString | str:
        return html.moment(token.last_used_at, token.seen_at) if token.last_used_at else "never"
