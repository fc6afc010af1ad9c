"""API tokens: list them, create one, whose secret is shown once, and revoke one."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any, Final

from django.contrib.auth import get_user_model
from django.db import transaction
from pydantic import BeforeValidator, Field
from rest_framework import serializers
from rest_framework.exceptions import PermissionDenied
from rest_framework.request import Request
from rest_framework.response import Response

from taskqueue.api.authentication import actor_of, is_exempt
from taskqueue.api.fields import Text, integral
from taskqueue.api.json_parser import parse_body
from taskqueue.api.openapi.operations import operation
from taskqueue.api.requests import Body, NoBody
from taskqueue.api.rows import find_row, invalid_body
from taskqueue.api.serializers import Time
from taskqueue.api.views import ApiView
from taskqueue.engine.actions import tokens
from taskqueue.models import Token
from taskqueue.policies.limits import MAX_RATE_COUNT

MAX_SHOWN: Final = 1000
DEFAULT_DAYS: Final = 90


class TokenBody(Body):
    """A token to create."""

    name: Text = Field(min_length=1, max_length=100, description="What it is for, such as nightly-import.")
    username: Text = Field(
        default="",
        max_length=150,
        description="The user whose permissions it has. Missing: the caller. Only superusers can name others.",
    )
    expires_in_days: Annotated[int | None, BeforeValidator(integral)] = Field(
        default=DEFAULT_DAYS, ge=1, le=3650, description="For how long it is valid; null for ever."
    )
    per_minute: Annotated[int | None, BeforeValidator(integral)] = Field(
        default=None, ge=1, le=MAX_RATE_COUNT, description="Requests per minute; null for no limit."
    )


class TokenRecord(serializers.Serializer[Any]):
    """A token, without its secret."""

    id = serializers.IntegerField()
    name = serializers.CharField()
    user = serializers.CharField(help_text="The user whose permissions it has.")
    prefix = serializers.CharField(help_text="The first characters of its secret.")
    per_minute = serializers.IntegerField(allow_null=True, help_text="Requests per minute; null for no limit.")
    created_at = Time()
    expires_at = Time(allow_null=True, help_text="Null for never.")
    last_used_at = Time(allow_null=True, help_text="Accurate to a minute.")
    revoked_at = Time(allow_null=True)


class NewToken(TokenRecord):
    """A new token, with its secret."""

    secret = serializers.CharField(help_text="It is shown only here.")


class TokenList(serializers.Serializer[Any]):
    """Tokens, newest first."""

    tokens = TokenRecord(many=True)


class TokenListView(ApiView):
    required_permissions = {"GET": ("taskqueue.view_token",), "POST": ("taskqueue.add_token",)}

    @operation(
        "listTokens",
        "List tokens",
        f"The newest {MAX_SHOWN:,}, revoked and expired ones included, without their secrets.",
        tag="access",
        success={200: (TokenList, "The tokens.")},
    )
    def get(self, request: Request) -> Response:
        found = Token.objects.select_related("user").order_by("-pk")[:MAX_SHOWN]
        return Response(TokenList({"tokens": found}).data)

    @operation(
        "createToken",
        "Create a token",
        "The answer is the only one with its secret.",
        tag="access",
        success={201: (NewToken, "The token, with its secret.")},
        body=TokenBody,
    )
    def post(self, request: Request) -> Response:
        body = parse_body(TokenBody, request.data)
        user = user_of(request, body.username)
        with transaction.atomic():
            token, secret = tokens.issue(
                user,
                name=body.name,
                expires_in=None if body.expires_in_days is None else timedelta(days=body.expires_in_days),
                per_minute=body.per_minute,
            )
            actor_of(request).record(token, f"Created for {user}.", added=True)
        token.secret = secret  # type: ignore[attr-defined]  # for its serializer
        return Response(NewToken(token).data, status=201, headers={"Cache-Control": "no-store"})


class TokenRevokeView(ApiView):
    required_permissions = {"POST": ("taskqueue.view_token", "taskqueue.change_token")}

    @operation(
        "revokeToken",
        "Revoke a token",
        "It is refused from the next request on. A token that was revoked before stays so.",
        tag="access",
        success={200: (TokenRecord, "The revoked token.")},
        body=NoBody,
        never=(409,),
    )
    def post(self, request: Request, token_id: int) -> Response:
        parse_body(NoBody, request.data)
        token = find(token_id)
        with transaction.atomic():
            if tokens.revoke(token.pk):
                actor_of(request).record(token, "Revoked.")
        return Response(TokenRecord(find(token_id)).data)


def user_of(request: Request, username: str) -> Any:
    """The user of a new token.

    Raises:
        PermissionDenied: another user than the caller, who is no superuser.
        Refusal: 422, there is no such user.
    """
    name = username or request.user.get_username()
    if name != request.user.get_username() and not (is_exempt(request) or request.user.is_superuser):
        raise PermissionDenied("Only superusers can create tokens for other users.")
    users = get_user_model()
    user = users._default_manager.filter(**{users.USERNAME_FIELD: name}, is_active=True).first()
    if user is None:
        raise invalid_body("/username", f"There is no active user {name!r}.")
    return user


def find(token_id: int) -> Token:
    """A token by its id.

    Raises:
        Refusal: 404.
    """
    return find_row(Token.objects.select_related("user"), token_id, f"No token has the id {token_id}.")
