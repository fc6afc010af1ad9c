"""Alert rules: list, create, change, delete, silence and test them."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated, Any

from django.core.exceptions import NON_FIELD_ERRORS, ValidationError
from django.db import transaction
from django.db.models import QuerySet
from django.db.models.functions import Now
from pydantic import BeforeValidator, Field
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from taskqueue.api.authentication import actor_of, is_exempt
from taskqueue.api.fields import Moment, Text, integral
from taskqueue.api.json_parser import parse_body
from taskqueue.api.openapi.operations import location, operation
from taskqueue.api.requests import Body, NoBody
from taskqueue.api.rows import find_row, invalid_body, invalid_row
from taskqueue.api.serializers import Time
from taskqueue.api.views import ApiView
from taskqueue.engine.actions import alerts
from taskqueue.engine.alerts.conditions import CONDITIONS
from taskqueue.models import AlertRule
from taskqueue.models.alert import RECIPIENTS, SUBJECT_MAX_LENGTH, lines_of

CHANGE = "taskqueue.change_alertrule"
MAX_SHOWN = 1000
MAX_SECONDS = 365 * 86_400
NAMES = {"hold_for": "hold_for_seconds", "repeat_every": "repeat_every_seconds"}
"""The columns that the API calls otherwise."""

Seconds = Annotated[int, BeforeValidator(integral)]
Addresses = list[Annotated[Text, Field(min_length=1, max_length=2000)]]


class AlertRuleFields(Body):
    """What a rule can have in addition to its name and to what it checks."""

    subjects: list[Annotated[Text, Field(max_length=SUBJECT_MAX_LENGTH)]] = Field(
        default_factory=list,
        max_length=100,
        description="The pipelines or queues that it covers, or their beginnings with an asterisk, such as shop/*. "
        "Empty: all.",
    )
    hold_for_seconds: Seconds = Field(
        default=0, ge=0, le=MAX_SECONDS, description="How long the condition must hold before it fires."
    )
    repeat_every_seconds: Annotated[int | None, BeforeValidator(integral)] = Field(
        default=4 * 3600, ge=0, le=MAX_SECONDS, description="How often to remind while it fires; null for never."
    )
    mail_addresses: Addresses = Field(default_factory=list, description="Who gets a mail.")
    slack_addresses: Addresses = Field(
        default_factory=list, description="Incoming webhooks of Slack or a similar chat."
    )
    webhook_addresses: Addresses = Field(
        default_factory=list, description="Addresses that are sent the alert as signed JSON."
    )
    is_enabled: bool = Field(default=True, description="Whether it is checked.")


class AlertRuleBody(AlertRuleFields):
    """A rule to create."""

    name: Text = Field(min_length=1, max_length=100, description="What messages and lists call it.")
    condition: Text = Field(min_length=1, max_length=40, description=f"What is checked: {', '.join(CONDITIONS)}.")
    threshold: float = Field(ge=0, description="From this value on the condition holds; of live workers, below it.")


class AlertRuleChange(AlertRuleFields):
    """What changes of a rule; the rest stays."""

    name: Text = Field(default="", max_length=100, description="What messages and lists call it.")
    condition: Text = Field(default="", max_length=40, description=f"What is checked: {', '.join(CONDITIONS)}.")
    threshold: float = Field(
        default=0, ge=0, description="From this value on the condition holds; of live workers, below it."
    )


class SilenceBody(Body):
    """For how long a rule sends nothing: either seconds or a time."""

    seconds: Annotated[int | None, BeforeValidator(integral)] = Field(
        default=None, ge=1, le=MAX_SECONDS, description="How long, from now on; or give until."
    )
    until: Moment | None = Field(default=None, description="A time within the next 365 days; or give seconds.")
    reason: Text = Field(default="", max_length=300, description="Why, for others to read.")


class AlertRecord(serializers.Serializer[Any]):
    """A condition that holds for one subject now."""

    subject = serializers.CharField(
        allow_blank=True, help_text="A pipeline, queue or subscription; empty for the service."
    )
    value = serializers.FloatField(help_text="In the unit of the threshold.")
    text = serializers.CharField()
    pending_since = Time()
    firing_since = Time(allow_null=True, help_text="Null while it has not held long enough.")
    notified_at = Time(allow_null=True, help_text="When a message was last sent.")


class Recipients(serializers.ListField):
    """Null for callers who may not change the rule: with the address of a chat, anyone can write to it."""

    child = serializers.CharField()

    def to_representation(self, lines: Any) -> Any:
        return lines_of(lines) if self.context["shows_addresses"] else None


class AlertRuleRecord(serializers.Serializer[Any]):
    """A rule. Its recipients are shown to callers who may change it."""

    id = serializers.IntegerField()
    name = serializers.CharField()
    condition = serializers.CharField()
    threshold = serializers.FloatField()
    subjects = serializers.ListField(child=serializers.CharField())
    hold_for_seconds = serializers.SerializerMethodField()
    repeat_every_seconds = serializers.SerializerMethodField()
    mail_addresses = Recipients(allow_null=True, read_only=True)
    slack_addresses = Recipients(allow_null=True, read_only=True)
    webhook_addresses = Recipients(allow_null=True, read_only=True)
    is_enabled = serializers.BooleanField()
    silenced_until = Time(allow_null=True)
    silenced_by = serializers.CharField(allow_blank=True)
    silence_reason = serializers.CharField(allow_blank=True)
    evaluated_at = Time(allow_null=True, help_text="When it was last checked.")
    alerts = AlertRecord(many=True, help_text="What is pending or fires now.")

    def get_hold_for_seconds(self, rule: AlertRule) -> float:
        return rule.hold_for.total_seconds()

    def get_repeat_every_seconds(self, rule: AlertRule) -> float | None:
        return None if rule.repeat_every is None else rule.repeat_every.total_seconds()


class AlertRuleList(serializers.Serializer[Any]):
    """The rules, by name."""

    alert_rules = AlertRuleRecord(many=True)


class TestedRule(serializers.Serializer[Any]):
    """How many test messages are being sent."""

    messages = serializers.IntegerField(help_text="One for each recipient.")


class AlertRuleListView(ApiView):
    required_permissions = {"GET": ("taskqueue.view_alertrule",), "POST": ("taskqueue.add_alertrule",)}

    @operation(
        "listAlertRules",
        "List alert rules",
        f"The first {MAX_SHOWN:,} rules by name, each with what is pending or fires now.",
        tag="alerts",
        success={200: (AlertRuleList, "The rules.")},
    )
    def get(self, request: Request) -> Response:
        found = rules().order_by("name")[:MAX_SHOWN]
        return Response(AlertRuleList({"alert_rules": found}, context=context_of(request)).data)

    @operation(
        "createAlertRule",
        "Create an alert rule",
        "It is checked from now on.",
        tag="alerts",
        success={201: (AlertRuleRecord, "The rule.")},
        body=AlertRuleBody,
        headers=(location("rule", 201),),
    )
    def post(self, request: Request) -> Response:
        rule = AlertRule()
        save(rule, parse_body(AlertRuleBody, request.data).model_dump(), request)
        return record(rule.pk, request, status=201, headers={"Location": f"{request.path}/{rule.pk}"})


class AlertRuleDetailView(ApiView):
    http_method_names = ["get", "patch", "delete", "head"]
    required_permissions = {
        "GET": ("taskqueue.view_alertrule",),
        "PATCH": (CHANGE,),
        "DELETE": ("taskqueue.delete_alertrule",),
    }

    @operation(
        "getAlertRule",
        "Get an alert rule",
        "With what is pending or fires now.",
        tag="alerts",
        success={200: (AlertRuleRecord, "The rule.")},
    )
    def get(self, request: Request, rule_id: int) -> Response:
        return record(rule_id, request)

    @operation(
        "changeAlertRule",
        "Change an alert rule",
        "Changes what the body has. Alerts of a disabled rule, or of another condition, are forgotten.",
        tag="alerts",
        success={200: (AlertRuleRecord, "The changed rule.")},
        body=AlertRuleChange,
        never=(409,),
    )
    def patch(self, request: Request, rule_id: int) -> Response:
        values = parse_body(AlertRuleChange, request.data).model_dump(exclude_unset=True)
        if values:
            with transaction.atomic():
                save(find(rule_id, rules().select_for_update(no_key=True)), values, request)
        return record(rule_id, request)

    @operation(
        "deleteAlertRule",
        "Delete an alert rule",
        "With its alerts. Without any rule, the next `migrate` creates the first ones again.",
        tag="alerts",
        success={204: (None, "It is deleted.")},
    )
    def delete(self, request: Request, rule_id: int) -> Response:
        alerts.delete(find(rule_id), actor=actor_of(request))
        return Response(status=204)


class AlertRuleSilenceView(ApiView):
    http_method_names = ["post"]
    required_permissions = {"POST": (CHANGE,)}

    @operation(
        "silenceAlertRule",
        "Silence an alert rule",
        "It is still checked, and sends no messages for some time. It replaces an earlier silence.",
        tag="alerts",
        success={200: (AlertRuleRecord, "The silenced rule.")},
        body=SilenceBody,
        never=(409,),
    )
    def post(self, request: Request, rule_id: int) -> Response:
        body, rule = parse_body(SilenceBody, request.data), find(rule_id)
        alerts.silence(rule, end_of(body, rule.seen_at), body.reason, actor=actor_of(request))
        return record(rule_id, request)


class AlertRuleEndSilenceView(ApiView):
    http_method_names = ["post"]
    required_permissions = {"POST": (CHANGE,)}

    @operation(
        "endSilenceOfAlertRule",
        "End the silence of an alert rule",
        "What fires and was not sent is sent next. Nothing changes if it is not silenced.",
        tag="alerts",
        success={200: (AlertRuleRecord, "The rule.")},
        body=NoBody,
        never=(409,),
    )
    def post(self, request: Request, rule_id: int) -> Response:
        parse_body(NoBody, request.data)
        alerts.end_silence(find(rule_id), actor=actor_of(request))
        return record(rule_id, request)


class AlertRuleTestView(ApiView):
    http_method_names = ["post"]
    required_permissions = {"POST": (CHANGE,)}

    @operation(
        "testAlertRule",
        "Send a test message",
        "To each recipient, also of a rule that is disabled or silenced.",
        tag="alerts",
        success={202: (TestedRule, "The messages are being sent.")},
        body=NoBody,
        never=(409,),
    )
    def post(self, request: Request, rule_id: int) -> Response:
        parse_body(NoBody, request.data)
        sent = alerts.send_test(find(rule_id), actor=actor_of(request))
        return Response(TestedRule({"messages": sent}).data, status=202)


def rules() -> QuerySet[AlertRule]:
    return AlertRule.objects.annotate(seen_at=Now()).prefetch_related("alerts")


def find(rule_id: int, among: QuerySet[AlertRule] | None = None) -> Any:
    """A rule by its id, with the database's time.

    Raises:
        Refusal: 404.
    """
    return find_row(rules() if among is None else among, rule_id, f"No alert rule has the id {rule_id}.")


def end_of(body: SilenceBody, now: datetime) -> datetime:
    """When a silence ends.

    Raises:
        Refusal: 422.
    """
    if (body.seconds is None) == (body.until is None):
        raise invalid_body("", "Give either seconds or until.")
    if body.seconds is not None:
        return now + timedelta(seconds=body.seconds)
    if body.until is None or not now < body.until <= now + timedelta(seconds=MAX_SECONDS):
        raise invalid_body("/until", "Give a time within the next 365 days.")
    return body.until


def save(rule: AlertRule, values: dict[str, Any], request: Request) -> None:
    """Write the given values of a rule.

    Raises:
        Refusal: 422, with a pointer to each value that is not valid.
    """
    for column, name in NAMES.items():
        if name in values:
            seconds = values.pop(name)
            values[column] = None if seconds is None else timedelta(seconds=seconds)
    for name, value in values.items():
        setattr(rule, name, "\n".join(value) if name in RECIPIENTS.values() else value)
    try:
        alerts.save(rule, actor=actor_of(request))
    except ValidationError as error:
        raise invalid_row(error, "alert rule", {**NAMES, NON_FIELD_ERRORS: "name"}) from error


def record(rule_id: int, request: Request, **more: Any) -> Response:
    return Response(AlertRuleRecord(find(rule_id), context=context_of(request)).data, **more)


def context_of(request: Request) -> dict[str, Any]:
    return {"shows_addresses": is_exempt(request) or request.user.has_perm(CHANGE)}
