"""Tokens in the admin: made with a secret that is shown once, looked at, and revoked."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.auth import get_user_model
from django.core.exceptions import PermissionDenied, ValidationError
from django.db import transaction
from django.db.models import QuerySet
from django.db.models.functions import Now
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.safestring import SafeString

from taskqueue.admin.shared import formats, html, task_actions
from taskqueue.admin.shared.models import ReadOnlyAdmin
from taskqueue.admin.shared.pages import framed
from taskqueue.engine.actions import tokens
from taskqueue.models import Token
from taskqueue.policies.limits import MOST_IN_A_PERIOD

LENGTHS = ((1, "1 day"), (30, "30 days"), (90, "90 days"), (365, "1 year"), (0, "Never"))


class TokenForm(forms.Form):
    """What is said of a new token.

    Its user is written and not chosen from a list: there may be many. Who is no superuser makes tokens for themselves
    alone, or a token would lend them somebody else's rights.
    """

    name = forms.CharField(max_length=100, help_text="What it is for, such as nightly-import.")
    username = forms.CharField(label="User", help_text="Whoever has the token may do what this user may.")
    days = forms.TypedChoiceField(choices=LENGTHS, coerce=int, initial=90, label="Expires after")
    per_minute = forms.IntegerField(
        required=False,
        min_value=1,
        max_value=MOST_IN_A_PERIOD,
        label="Requests per minute",
        help_text="Empty: as many as it likes.",
    )

    def __init__(self, given: Any, *, maker: Any) -> None:
        super().__init__(given, initial={"username": maker.get_username()})
        self.maker = maker
        self.fields["username"].disabled = not maker.is_superuser

    def clean_username(self) -> Any:
        """The user of this name."""
        name = self.cleaned_data["username"]
        users = get_user_model()
        user = users._default_manager.filter(**{users.USERNAME_FIELD: name}, is_active=True).first()
        if user is None:
            raise ValidationError(f"There is no active user {name!r}.")
        return user


@admin.register(Token)
class TokenAdmin(ReadOnlyAdmin[Token]):
    """Tokens, newest first. Making one needs `add_token`, revoking one `change_token`."""

    list_display = ("shown_name", "user", "shown_state", "shown_rate", "shown_creation", "shown_use")
    list_select_related = ("user",)
    ordering = ("-id",)
    search_fields = ("name__startswith", "prefix__startswith")
    search_help_text = "Finds names and secrets that begin with what you type."
    fields = readonly_fields = (
        "name",
        "user",
        "shown_prefix",
        "shown_state",
        "shown_rate",
        "shown_creation",
        "shown_use",
    )
    actions = ("revoke_selected",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Token]:
        """Tokens with the database's present moment."""
        return Token.objects.select_related("user").annotate(seen_at=Now())

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Whoever has the permission."""
        return request.user.has_perm("taskqueue.add_token")

    def has_revoke_permission(self, request: HttpRequest) -> bool:
        """Whether the user may revoke tokens."""
        return request.user.has_perm("taskqueue.change_token")

    def add_view(self, request: HttpRequest, form_url: str = "", extra_context: Any = None) -> HttpResponse:
        """The form; and on success the one page that ever shows the secret. It is neither kept nor redirected to."""
        if not self.has_add_permission(request):
            raise PermissionDenied
        form = TokenForm(request.POST if request.method == "POST" else None, maker=request.user)
        token, secret = self.issue(request, form) if form.is_bound and form.is_valid() else (None, "")
        title = "Add token" if token is None else f"Token {token.name}"
        context = {
            "form": form,
            "token": token,
            "secret": secret,
            "list_address": reverse("admin:taskqueue_token_changelist"),
        }
        response = framed(self, request, "token/add_form.html", title, context)
        response["Cache-Control"] = "no-store"
        return response

    def issue(self, request: HttpRequest, form: TokenForm) -> tuple[Token, str]:
        """Make it, on the record."""
        days = form.cleaned_data["days"]
        with transaction.atomic():
            token, secret = tokens.issue(
                form.cleaned_data["username"],
                name=form.cleaned_data["name"],
                expires_in=timedelta(days=days) if days else None,
                per_minute=form.cleaned_data["per_minute"],
            )
            self.log_addition(request, token, f"Made for {token.user}.")
        return token, secret

    @admin.action(description="Revoke selected tokens", permissions=["revoke"])
    def revoke_selected(self, request: HttpRequest, queryset: QuerySet[Token]) -> None:
        """Let them be valid no longer, from the next request on."""
        chosen = list(queryset.filter(revoked_at=None).order_by("pk")[: task_actions.LIMIT])
        done = sum(self.revoke(request, token) for token in chosen)
        sentence = f"{formats.count_of(done, 'token')} revoked." if done else "All of them were revoked before."
        self.message_user(request, sentence, messages.SUCCESS if done else messages.WARNING)

    def revoke(self, request: HttpRequest, token: Token) -> bool:
        """One of them, on the record."""
        with transaction.atomic():
            done = tokens.revoke(token.pk)
            if done:
                self.log_change(request, token, "Revoked.")
        return done

    @admin.display(description="Token")
    def shown_name(self, token: Token) -> str:
        """What it is for, and how its secret begins."""
        return str(token)

    @admin.display(description="Begins with")
    def shown_prefix(self, token: Token) -> str:
        """How its secret begins."""
        return f"{token.prefix}…"

    @admin.display(description="State")
    def shown_state(self, token: Any) -> SafeString | str:
        """Whether it is valid, and until when."""
        if token.revoked_at is not None:
            return html.dated("revoked", token.revoked_at, token.seen_at)
        if token.expires_at is None:
            return "valid, never expires"
        word = "expired" if token.expires_at <= token.seen_at else "valid, expires"
        return html.dated(word, token.expires_at, token.seen_at)

    @admin.display(description="Requests per minute")
    def shown_rate(self, token: Token) -> str:
        """How many it may make."""
        return "no limit" if token.per_minute is None else f"{token.per_minute:,}"

    @admin.display(description="Created")
    def shown_creation(self, token: Any) -> SafeString:
        """When it was made."""
        return html.moment(token.created_at, token.seen_at)

    @admin.display(description="Last used")
    def shown_use(self, token: Any) -> SafeString | str:
        """When it was last used, to the minute."""
        return html.moment(token.last_used_at, token.seen_at) if token.last_used_at else "never"
