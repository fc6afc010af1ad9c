"""The mirror: pipelines and their known steps as rows, so that people see them before the first task."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, Final, TypeVar

from django.db import router, transaction
from django.db.models.functions import Now

from taskqueue.definitions import PipelineDefinition, Policies, StepDefinition, fingerprint, registry
from taskqueue.engine import sql
from taskqueue.engine.catalog.schedules import sync_schedule
from taskqueue.models import ConcurrencyLimit, Pipeline, PipelineStep, RateLimit, Schedule, Task, Trigger
from taskqueue.policies import Limit, Rate, Retry

DECLARED: Final = ("key", "declared_count", "declared_per", "declared_burst")
MANNER: Final = 1
"""How things are written. Raised when that changes, so that all are written anew."""
REST: Final = timedelta(hours=1)
"""How long pruning rests between the end of a round and the next one."""

Row = TypeVar("Row", Pipeline, RateLimit)


def sync_pipelines() -> None:
    """Write what this process's code defines. A pipeline whose code is gone keeps its row: its tasks are still there.

    Two processes may do this at once, with the same code or during a deploy with different code: each pipeline is one
    transaction, and the last one stands. What stands already is not written again.
    """
    told = dict(Pipeline.objects.values_list("name", "definition_digest"))
    is_limited = set(ConcurrencyLimit.objects.values_list("pipeline_id", flat=True))
    clocked = set(Schedule.objects.values_list("pipeline_id", flat=True))
    unchanged = []
    for definition in registry.all():
        is_whole = definition.name in is_limited and (definition.policies.cron is None or definition.name in clocked)
        if is_whole and told[definition.name] == digest_of(facts_about(definition), definition.known_steps()):
            unchanged.append(definition.name)
            continue
        with transaction.atomic():
            sync_pipeline(definition)
    if unchanged:
        Pipeline.objects.filter(name__in=unchanged).update(updated_at=Now())
    sync_step_rates()
    add_prunings()


def sync_step_rates() -> None:
    """Write the rates that steps declare, whether or not a pipeline is known to call them."""
    told = {row[0]: row[1:] for row in RateLimit.objects.values_list("name", *DECLARED)}
    for step in registry.steps():
        rate = step.rate
        if isinstance(rate, Rate) and told.get(step.rate_name) != (rate.key, rate.count, rate.per, rate.burst):
            sync_rate(step.rate_name, rate)


def sync_after_migrate(*, using: str, plan: Sequence[tuple[object, bool]] = (), **_signal: object) -> None:
    """The same after `migrate`, if it was this app's database that was migrated, and forwards."""
    went_back = any(backwards for _migration, backwards in plan)
    if router.allow_migrate_model(using, Pipeline) and not went_back:
        sync_pipelines()


def sync_pipeline(definition: PipelineDefinition) -> None:
    """Write one pipeline and its steps."""
    facts, steps = facts_about(definition), definition.known_steps()
    pipeline = put(
        Pipeline, definition.name, {**facts, "definition_digest": digest_of(facts, steps), "updated_at": Now()}
    )
    sync_limits(definition, pipeline)
    sync_schedule(definition)
    sync_triggers(definition, pipeline)
    for position, step in enumerate(steps):
        PipelineStep.objects.update_or_create(pipeline=pipeline, name=step.name, defaults=facts_of(step, position))
    pipeline.known_steps.exclude(name__in=[step.name for step in steps]).delete()


def facts_about(definition: PipelineDefinition) -> dict[str, Any]:
    """A pipeline's row. Limits, schedule and triggers follow from its policies."""
    return {
        "description": definition.description,
        "payload_schema": definition.payload.json_schema(),
        "payload_example": definition.payload.example(),
        "result_schema": definition.result.json_schema(),
        "retry": waits_of(definition.retry),
        "policies": described(definition.policies),
        "version": definition.policies.version,
        "fingerprint": fingerprint(definition),
        "announces": definition.policies.announce,
        "has_handlers": bool(definition.handlers),
        "keep": definition.policies.keep,
        "keep_for_ever": definition.policies.keep_for_ever,
    }


def digest_of(facts: Mapping[str, Any], steps: Sequence[StepDefinition]) -> str:
    """A digest of all that is written of a pipeline, and of how this version writes it."""
    known = [(step.name, facts_of(step, position)) for position, step in enumerate(steps)]
    words = json.dumps([MANNER, facts, known], default=plain, sort_keys=True)
    return hashlib.sha256(words.encode()).hexdigest()


def sync_limits(definition: PipelineDefinition, pipeline: Pipeline) -> None:
    """Write what the code says of limits; what people changed stays."""
    policies = definition.policies
    rate = sync_rate(definition.throttle_name, policies.throttle) if policies.throttle is not None else None
    group = policies.group
    declared = {
        "declared_tasks": most_of(policies.concurrency, keyed=False),
        "declared_tasks_per_key": most_of(policies.concurrency, keyed=True),
        "declared_steps": most_of(policies.step_concurrency, keyed=False),
        "declared_steps_per_key": most_of(policies.step_concurrency, keyed=True),
        "key": group.text if group is not None else "",
        "rate": rate,
        "rate_is_keyed": policies.throttle is not None and policies.throttle.template is not None,
    }
    # Every pipeline has one, so that people can limit any of them.
    ConcurrencyLimit.objects.update_or_create(pipeline=pipeline, defaults=declared)
    if group is None:
        # The code no longer groups them: those that wait stand in one queue from now on.
        Task.objects.filter(blocked_queue=pipeline.name).update(concurrency_key="")


def sync_triggers(definition: PipelineDefinition, pipeline: Pipeline) -> None:
    """Write which events start it."""
    for position, on in enumerate(definition.triggers):
        Trigger.objects.update_or_create(
            pipeline=pipeline, position=position, defaults={"event": on.event, "match": dict(on.match)}
        )
    Trigger.objects.filter(pipeline=pipeline, position__gte=len(definition.triggers)).delete()


def most_of(limits: Sequence[Limit], *, keyed: bool) -> int | None:
    """How many the limit of this kind allows; None when there is none."""
    return next((limit.most for limit in limits if bool(limit.key) == keyed), None)


def sync_rate(name: str, rate: Rate) -> RateLimit:
    """Write what the code says of a rate; what people changed stays."""
    declared = {
        "key": rate.key,
        "declared_count": rate.count,
        "declared_per": rate.per,
        "declared_burst": rate.burst,
        "updated_at": Now(),
    }
    return put(RateLimit, name, declared)


def put(model: type[Row], name: str, values: dict[str, Any]) -> Row:
    """Update or insert a row that others refer to.

    Not `update_or_create`: its `FOR UPDATE` keeps those waiting who commit a reference to the row, and they may hold
    the concurrency_limit that this transaction asks for next.
    """
    row, created = model.objects.get_or_create(defaults=values, name=name)
    if not created:
        model.objects.filter(name=name).update(**values)
    return row


def described(policies: Policies) -> dict[str, Any]:
    """Policies as JSON, for people: those that are set."""
    found: dict[str, Any] = json.loads(json.dumps(vars(policies), default=plain))
    return {name: value for name, value in found.items() if value not in (None, "", [], False)}


def plain(value: object) -> object:
    """A policy, or a part of one, as JSON can hold it."""
    if isinstance(value, timedelta):
        return value.total_seconds()
    return dict(value) if isinstance(value, Mapping) else vars(value)


def facts_of(step: StepDefinition, position: int) -> dict[str, Any]:
    """A step's row."""
    return {
        "position": position,
        "atomic": step.atomic,
        "timeout": step.timeout,
        "retry": waits_of(step.retry),
    }


def waits_of(retry: Retry) -> list[float]:
    """A retry policy's waits in seconds."""
    return [wait.total_seconds() for wait in retry.waits]


def add_prunings() -> None:
    """Give every pipeline its turns of pruning; the first comes after a rest, since a service that starts is busy."""
    sql.fetch(sql.ADD_PRUNINGS, {"rest": REST})
