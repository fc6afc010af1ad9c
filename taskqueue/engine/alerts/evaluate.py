"""Evaluate alert rules: which conditions hold, what fires since when, and the messages about it.

The rule's row is the lock. Under it the alerts are written and the messages enqueued, in one transaction: a crash
neither loses nor repeats a message, and a second process finds the rule evaluated.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Final

from django.db import router, transaction
from django.db.models import Q, QuerySet
from django.db.models.functions import Now

from taskqueue.engine.alerts.conditions import CONDITIONS, Finding
from taskqueue.engine.alerts.messages import notify
from taskqueue.engine.queries import stats
from taskqueue.engine.runtime.locks import run_or_log
from taskqueue.models import Alert, AlertRule

EVERY: Final = timedelta(seconds=15)
SUBJECTS_MAX: Final = 100
"""The most alerts of one rule, the first by their names."""


def evaluate_rules() -> int:
    """Evaluate the rules that are due; how many messages were enqueued. A rule that fails is logged."""
    due = checked_rules().filter(is_due()).order_by("pk").values_list("pk", flat=True)
    return sum(run_or_log(partial(evaluate_rule, pk), f"Alert rule {pk}") for pk in due)


def evaluate_rule(pk: int) -> int:
    """Evaluate a rule that is due, unless another process does; how many messages were enqueued."""
    with transaction.atomic():
        locked = checked_rules().select_for_update(skip_locked=True, no_key=True)
        rule = locked.filter(is_due(), pk=pk).annotate(now=Now()).first()
        if rule is None:
            return 0
        firing, resolved = update_alerts(rule, findings_of(rule), rule.now)
        AlertRule.objects.filter(pk=pk).update(evaluated_at=rule.now)
        return notify(rule, firing, resolved, now=rule.now) if firing or resolved else 0


def checked_rules() -> QuerySet[AlertRule]:
    """The rules that are enabled, and whose condition this code knows."""
    return AlertRule.objects.filter(is_enabled=True, condition__in=CONDITIONS)


def is_due() -> Q:
    return Q(evaluated_at=None) | Q(evaluated_at__lte=Now() - EVERY)


def findings_of(rule: AlertRule) -> dict[str, Finding]:
    """The subjects of a rule for which its condition holds now; of several findings the largest.

    Raises:
        django.db.OperationalError: the database is away, or a statement was too slow.
    """
    found: dict[str, Finding] = {}
    with stats.time_limit():
        for finding in CONDITIONS[rule.condition].read(rule.threshold):
            known = found.get(finding.subject)
            if rule.covers(finding.subject) and (known is None or known.value < finding.value):
                found[finding.subject] = finding
    return dict(sorted(found.items())[:SUBJECTS_MAX])


def update_alerts(rule: AlertRule, findings: dict[str, Finding], now: datetime) -> tuple[list[Alert], list[Alert]]:
    """Write what is pending and what fires, and delete what does not hold any more; the alerts to send a message about.

    Returns:
        Those that fire, and those that are resolved.
    """
    may_notify = bool(rule.recipients) and not rule.is_silenced_at(now)
    past = {alert.subject: alert for alert in rule.alerts.all()}
    firing = []
    for finding in findings.values():
        alert = past.pop(finding.subject, None) or Alert(rule=rule, subject=finding.subject, pending_since=now)
        alert.value, alert.text, alert.link = finding.value, finding.text, finding.link
        if alert.firing_since is None and now - alert.pending_since >= rule.hold_for:
            alert.firing_since = now
        if may_notify and is_message_due(rule, alert, now):
            alert.notified_at = now
            firing.append(alert)
        alert.save()
    rule.alerts.filter(pk__in=[alert.pk for alert in past.values()]).delete()
    resolved = [alert for alert in past.values() if may_notify and alert.notified_at is not None]
    return firing, resolved


def is_message_due(rule: AlertRule, alert: Alert, now: datetime) -> bool:
    if alert.firing_since is None:
        return False
    if alert.notified_at is None:
        return True
    return rule.repeat_every is not None and now - alert.notified_at >= rule.repeat_every


@dataclass(frozen=True)
class Checked:
    """What a rule finds now, whatever its `for` says."""

    rule: AlertRule
    findings: list[Finding]
    is_silenced: bool = False


def check_now() -> list[Checked]:
    """Check each enabled rule once, and write nothing. Without any rule row: the default rules.

    Raises:
        django.db.Error: the database does not answer, or has no tables.
    """
    if not AlertRule.objects.exists():
        return [Checked(rule, list(findings_of(rule).values())) for rule in default_rules()]
    rules = list(checked_rules().annotate(now=Now()))
    return [Checked(rule, list(findings_of(rule).values()), rule.is_silenced_at(rule.now)) for rule in rules]


def default_rules() -> list[AlertRule]:
    """A rule without recipients for each condition, not saved."""
    return [
        AlertRule(name=each.title, condition=name, threshold=each.threshold, hold_for=each.hold_for)
        for name, each in CONDITIONS.items()
    ]


def add_default_rules_after_migrate(*, using: str, plan: Sequence[tuple[object, bool]] = (), **_signal: object) -> None:
    """Create the default rules after `migrate` if there is no rule at all. Two processes create them once."""
    is_backwards = any(backwards for _migration, backwards in plan)
    if router.allow_migrate_model(using, AlertRule) and not is_backwards and not AlertRule.objects.exists():
        AlertRule.objects.bulk_create(default_rules(), ignore_conflicts=True)
