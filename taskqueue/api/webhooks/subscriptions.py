"""Subscriptions: list, create, change, delete and test them."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import NON_FIELD_ERRORS, ValidationError
from django.db import transaction
from pydantic import Field
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from taskqueue.api.authentication import actor_of
from taskqueue.api.json_parser import parse_body
from taskqueue.api.openapi.operations import location, operation
from taskqueue.api.requests import Body, NoBody
from taskqueue.api.rows import find_row, invalid_row
from taskqueue.api.serializers import Time
from taskqueue.api.tasks.serializers import SubmittedTask
from taskqueue.api.views import ApiView
from taskqueue.engine.actions import subscriptions
from taskqueue.models import Subscription
from taskqueue.models.subscription import all_endings
from taskqueue.webhooks.addresses import ADDRESS_MAX_LENGTH

MAX_SHOWN = 1000


class SubscriptionBody(Body):
    """A subscription to the ends of tasks."""

    address: str = Field(min_length=1, max_length=ADDRESS_MAX_LENGTH, description="The https address that is called.")
    description: str = Field(default="", max_length=200, description="What it is for.")
    pipelines: list[str] = Field(
        default_factory=list,
        max_length=100,
        description="Names of pipelines, or their beginnings with an asterisk, such as shop/*. Empty: all.",
    )
    labels: dict[str, str] = Field(
        default_factory=dict, max_length=20, description="Labels that the task must have. Empty: any."
    )
    endings: list[str] = Field(
        default_factory=all_endings, min_length=1, description="Of succeeded, failed, cancelled. Missing: all."
    )


class SubscriptionChange(Body):
    """What changes of a subscription; the rest stays."""

    address: str = Field(default="", max_length=ADDRESS_MAX_LENGTH, description="The https address that is called.")
    description: str | None = Field(default=None, max_length=200, description="What it is for.")
    pipelines: list[str] | None = Field(default=None, max_length=100, description="Empty: all.")
    labels: dict[str, str] | None = Field(default=None, max_length=20, description="Empty: any.")
    endings: list[str] | None = Field(default=None, min_length=1, description="Of succeeded, failed, cancelled.")
    enabled: bool | None = Field(default=None, description="False: it is not called until it is enabled again.")


class SubscriptionRecord(serializers.Serializer[Any]):
    """A subscription."""

    id = serializers.IntegerField()
    address = serializers.CharField()
    description = serializers.CharField(allow_blank=True)
    pipelines = serializers.ListField(child=serializers.CharField())
    labels = serializers.DictField(child=serializers.CharField())
    endings = serializers.ListField(child=serializers.CharField())
    enabled = serializers.SerializerMethodField()
    disabled_at = Time(allow_null=True)
    disabled_reason = serializers.CharField(allow_blank=True)
    created_at = Time()

    def get_enabled(self, subscription: Any) -> bool:
        return subscription.disabled_at is None


class NewSubscription(SubscriptionRecord):
    """A new subscription, with the secret that signs its calls."""

    secret = serializers.CharField(help_text="It is shown only here.")


class SubscriptionList(serializers.Serializer[Any]):
    """The subscriptions, newest first."""

    subscriptions = SubscriptionRecord(many=True)


class SubscriptionListView(ApiView):
    required_permissions = {"GET": ("taskqueue.view_subscription",), "POST": ("taskqueue.add_subscription",)}

    @operation(
        "listSubscriptions",
        "List subscriptions",
        f"The newest {MAX_SHOWN:,} subscriptions, newest first, without their secrets.",
        tag="subscriptions",
        success={200: (SubscriptionList, "The subscriptions.")},
    )
    def get(self, request: Request) -> Response:
        found = Subscription.objects.order_by("-pk")[:MAX_SHOWN]
        return Response(SubscriptionList({"subscriptions": found}).data)

    @operation(
        "createSubscription",
        "Create a subscription",
        "The address is called for every task that ends from now on and matches. It is sent what the caller may see.",
        tag="subscriptions",
        success={201: (NewSubscription, "The subscription, with its secret.")},
        body=SubscriptionBody,
        headers=(location("subscription", 201),),
    )
    def post(self, request: Request) -> Response:
        body = parse_body(SubscriptionBody, request.data)
        subscription = Subscription(**body.model_dump())
        save(subscription, request)
        address = f"{request.path}/{subscription.pk}"
        return Response(NewSubscription(subscription).data, status=201, headers={"Location": address})


class SubscriptionDetailView(ApiView):
    http_method_names = ["get", "patch", "delete", "head"]
    required_permissions = {
        "GET": ("taskqueue.view_subscription",),
        "PATCH": ("taskqueue.change_subscription",),
        "DELETE": ("taskqueue.delete_subscription",),
    }

    @operation(
        "getSubscription",
        "Get a subscription",
        "Its filters and its state, without its secret.",
        tag="subscriptions",
        success={200: (SubscriptionRecord, "The subscription.")},
    )
    def get(self, request: Request, subscription_id: int) -> Response:
        return Response(SubscriptionRecord(find(subscription_id)).data)

    @operation(
        "changeSubscription",
        "Change a subscription",
        "Changes what the body has. From then on the address is sent what the caller may see.",
        tag="subscriptions",
        success={200: (SubscriptionRecord, "The changed subscription.")},
        body=SubscriptionChange,
        never=(409,),
    )
    def patch(self, request: Request, subscription_id: int) -> Response:
        values = parse_body(SubscriptionChange, request.data).model_dump(exclude_unset=True)
        enabled = values.pop("enabled", None)
        with transaction.atomic():
            subscription = find(subscription_id)
            for name, value in values.items():
                if value is not None:
                    setattr(subscription, name, value)
            if values:
                save(subscription, request)
            if enabled is not None:
                set_enabled(subscription, request, enabled=enabled)
        return Response(SubscriptionRecord(find(subscription_id)).data)

    @operation(
        "deleteSubscription",
        "Delete a subscription",
        "Deliveries that have not been accepted yet fail.",
        tag="subscriptions",
        success={204: (None, "It is deleted.")},
    )
    def delete(self, request: Request, subscription_id: int) -> Response:
        subscriptions.delete(find(subscription_id), actor=actor_of(request))
        return Response(status=204)


class SubscriptionTestView(ApiView):
    http_method_names = ["post"]
    required_permissions = {"POST": ("taskqueue.change_subscription",)}

    @operation(
        "testSubscription",
        "Send a test event",
        "Delivers an event of the type webhook.test, also to a disabled subscription.",
        tag="subscriptions",
        success={202: (SubmittedTask, "The task that delivers it.")},
        body=NoBody,
        never=(409,),
    )
    def post(self, request: Request, subscription_id: int) -> Response:
        parse_body(NoBody, request.data)
        task = subscriptions.send_test(find(subscription_id), actor=actor_of(request))
        return Response(SubmittedTask().to_representation(task), status=202)


class SubscriptionRotateView(ApiView):
    http_method_names = ["post"]
    required_permissions = {"POST": ("taskqueue.change_subscription",)}

    @operation(
        "rotateSubscription",
        "Rotate a subscription's secret",
        "Gives it a new secret. For 24 hours its calls are signed with the old one, too.",
        tag="subscriptions",
        success={200: (NewSubscription, "The subscription, with its new secret.")},
        body=NoBody,
        never=(409,),
    )
    def post(self, request: Request, subscription_id: int) -> Response:
        parse_body(NoBody, request.data)
        subscriptions.rotate(find(subscription_id), actor=actor_of(request))
        return Response(NewSubscription(find(subscription_id)).data, headers={"Cache-Control": "no-store"})


def find(number: int) -> Subscription:
    """A subscription by its id.

    Raises:
        Refusal: 404.
    """
    return find_row(Subscription.objects.all(), number, f"No subscription has the id {number}.")


def save(subscription: Subscription, request: Request) -> None:
    """Write a subscription.

    Raises:
        Refusal: 422, with a pointer to each value that is not valid.
    """
    try:
        subscriptions.save(subscription, actor=actor_of(request))
    except ValidationError as error:
        raise invalid_row(error, "subscription", {NON_FIELD_ERRORS: "endings"}) from error


def set_enabled(subscription: Subscription, request: Request, *, enabled: bool) -> None:
    actor = actor_of(request)
    if enabled:
        subscriptions.enable(subscription, actor=actor)
    else:
        subscriptions.disable(subscription, actor=actor)
