"""Sync definitions: write the pipelines, steps and rates of the code to rows, so that the admin shows them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, Final, TypeVar

from django.db import router, transaction
from django.db.models.functions import Now

from taskqueue.definitions import PipelineDefinition, Policies, StepDefinition, fingerprint, registry
from taskqueue.models import ConcurrencyLimit, Pipeline, PipelineStep, Pruning, RateLimit, Schedule, Task, Trigger
from taskqueue.models.pruning import NO_PIPELINE, PACE_LOCK, RATE_BUCKETS
from taskqueue.policies import Limit, Rate, Retry

RATE_COLUMNS: Final = ("key", "declared_count", "declared_per", "declared_burst")
DIGEST_VERSION: Final = 1
"""Part of every digest. Raise it when the rows change for unchanged code, so that all are written again."""
PRUNE_PAUSE: Final = timedelta(hours=1)
"""Pause between two rounds of pruning."""

Row = TypeVar("Row", Pipeline, RateLimit)


def sync_pipelines() -> None:
    """Write this process's definitions to rows. A pipeline without code keeps its row, because its tasks refer to it.

    Two processes may sync at once, also with different code during a deploy: each pipeline is one transaction, and the
    last one wins. A pipeline with an unchanged digest is not written.
    """
    digests = dict(Pipeline.objects.values_list("name", "definition_digest"))
    with_limit = set(ConcurrencyLimit.objects.values_list("pipeline_id", flat=True))
    with_schedule = set(Schedule.objects.values_list("pipeline_id", flat=True))
    unchanged = []
    for definition in registry.all():
        name = definition.name
        is_complete = name in with_limit and (definition.policies.cron is None or name in with_schedule)
        if is_complete and digests[name] == definition_digest(pipeline_values(definition), definition.steps_in_body()):
            unchanged.append(name)
            continue
        with transaction.atomic():
            sync_pipeline(definition)
    if unchanged:
        Pipeline.objects.filter(name__in=unchanged).update(updated_at=Now())
    sync_step_rates()
    add_prunings()


def sync_after_migrate(*, using: str, plan: Sequence[tuple[object, bool]] = (), **_signal: object) -> None:
    """Sync after `migrate`, if it migrated this app's database forwards."""
    is_backwards = any(backwards for _migration, backwards in plan)
    if router.allow_migrate_model(using, Pipeline) and not is_backwards:
        sync_pipelines()


def sync_pipeline(definition: PipelineDefinition) -> None:
    """Write one pipeline and its steps."""
    values, steps = pipeline_values(definition), definition.steps_in_body()
    digest = definition_digest(values, steps)
    pipeline = upsert(Pipeline, definition.name, {**values, "definition_digest": digest, "updated_at": Now()})
    sync_limits(definition, pipeline)
    sync_schedule(definition)
    sync_triggers(definition, pipeline)
    for position, step in enumerate(steps):
        PipelineStep.objects.update_or_create(pipeline=pipeline, name=step.name, defaults=step_values(step, position))
    pipeline.known_steps.exclude(name__in=[step.name for step in steps]).delete()


def sync_new_pipeline(definition: PipelineDefinition) -> None:
    """Write a pipeline that has no row. Of two callers the second waits for the first, and writes the same."""
    if not Pipeline.objects.filter(name=definition.name).exists():
        with transaction.atomic():
            sync_pipeline(definition)


def pipeline_values(definition: PipelineDefinition) -> dict[str, Any]:
    policies = definition.policies
    return {
        "description": definition.description,
        "payload_schema": definition.payload.json_schema(),
        "payload_example": definition.payload.example(),
        "result_schema": definition.result.json_schema(),
        "retry": retry_seconds(definition.retry),
        "policies": policies_json(policies),
        "version": policies.version,
        "fingerprint": fingerprint(definition),
        "announces": policies.announce,
        "has_handlers": bool(definition.handlers),
        # A queue that an operator set is another column, and stays.
        "declared_queue": policies.queue,
        "keep": policies.keep,
        "keep_for_ever": policies.keep_for_ever,
    }


def definition_digest(values: Mapping[str, Any], steps: Sequence[StepDefinition]) -> str:
    """A digest of everything that is written of a pipeline."""
    rows = [(step.name, step_values(step, position)) for position, step in enumerate(steps)]
    text = json.dumps([DIGEST_VERSION, values, rows], default=to_json, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def sync_limits(definition: PipelineDefinition, pipeline: Pipeline) -> None:
    """Write the declared limits. Values that an operator set are other columns, and stay."""
    policies = definition.policies
    rate = sync_rate(definition.throttle_name, policies.throttle) if policies.throttle is not None else None
    declared = {
        "declared_tasks": declared_limit(policies.concurrency, keyed=False),
        "declared_tasks_per_key": declared_limit(policies.concurrency, keyed=True),
        "declared_steps": declared_limit(policies.step_concurrency, keyed=False),
        "declared_steps_per_key": declared_limit(policies.step_concurrency, keyed=True),
        "key": policies.key_template.text if policies.key_template is not None else "",
        "rate": rate,
        "rate_is_keyed": policies.throttle is not None and policies.throttle.template is not None,
    }
    # Every pipeline has a row, so that operators can limit any of them.
    ConcurrencyLimit.objects.update_or_create(pipeline=pipeline, defaults=declared)
    if policies.key_template is None:
        # The code has no concurrency key any more: blocked tasks wait in one queue from now on.
        Task.objects.filter(blocked_queue=pipeline.name).update(concurrency_key="")


def declared_limit(limits: Sequence[Limit], *, keyed: bool) -> int | None:
    return next((limit.most for limit in limits if bool(limit.key) == keyed), None)


def sync_schedule(definition: PipelineDefinition) -> None:
    """Insert, update or delete a pipeline's schedule. A missed run stays due unless expression or time zone change."""
    cron = definition.policies.cron
    schedules = Schedule.objects.filter(pipeline=definition.name)
    if cron is None:
        schedules.delete()
        return
    if schedules.filter(expression=cron.expression, timezone=cron.timezone).exists():
        schedules.exclude(misfire=cron.misfire).update(misfire=cron.misfire)
        return
    now = Pipeline.objects.filter(name=definition.name).values_list(Now(), flat=True).get()
    Schedule.objects.update_or_create(
        pipeline_id=definition.name,
        defaults={
            "expression": cron.expression,
            "timezone": cron.timezone,
            "misfire": cron.misfire,
            "next_at": cron.next_after(now),
        },
    )


def sync_triggers(definition: PipelineDefinition, pipeline: Pipeline) -> None:
    for position, on in enumerate(definition.triggers):
        Trigger.objects.update_or_create(
            pipeline=pipeline, position=position, defaults={"event": on.event, "match": dict(on.match)}
        )
    Trigger.objects.filter(pipeline=pipeline, position__gte=len(definition.triggers)).delete()


def sync_step_rates() -> None:
    """Write the rates that steps declare, also of steps that no known pipeline calls."""
    stored = {row[0]: row[1:] for row in RateLimit.objects.values_list("name", *RATE_COLUMNS)}
    for step in registry.steps():
        rate = step.rate
        if isinstance(rate, Rate) and stored.get(step.rate_name) != (rate.key, rate.count, rate.per, rate.burst):
            sync_rate(step.rate_name, rate)


def sync_rate(name: str, rate: Rate) -> RateLimit:
    """Write a declared rate. Values that an operator set are other columns, and stay."""
    declared = dict(zip(RATE_COLUMNS, (rate.key, rate.count, rate.per, rate.burst), strict=True))
    return upsert(RateLimit, name, {**declared, "updated_at": Now()})


def upsert(model: type[Row], name: str, values: dict[str, Any]) -> Row:
    """Update or insert a row that foreign keys refer to.

    `update_or_create` would lock it `FOR UPDATE`. That blocks transactions that insert a reference to the row, and they
    may hold the ConcurrencyLimit row that this transaction locks next.
    """
    row, created = model.objects.get_or_create(defaults=values, name=name)
    if not created:
        model.objects.filter(name=name).update(**values)
    return row


def policies_json(policies: Policies) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(json.dumps(vars(policies), default=to_json))
    del found["queue"]  # a column of its own, which an operator may override
    return {name: value for name, value in found.items() if value not in (None, "", [], False)}


def to_json(value: object) -> object:
    """A policy or a part of it as a JSON value."""
    if isinstance(value, timedelta):
        return value.total_seconds()
    return dict(value) if isinstance(value, Mapping) else vars(value)


def step_values(step: StepDefinition, position: int) -> dict[str, Any]:
    return {
        "position": position,
        "atomic": step.atomic,
        "timeout": step.timeout,
        "retry": retry_seconds(step.retry),
        "queue": step.queue,
    }


def retry_seconds(retry: Retry) -> list[float]:
    return [wait.total_seconds() for wait in retry.waits]


def add_prunings() -> None:
    """Give each pipeline a row in the pruning queue. The first round waits, since a starting service is busy."""
    names = {PACE_LOCK, NO_PIPELINE, RATE_BUCKETS, *Pipeline.objects.values_list("name", flat=True)}
    new = sorted(names.difference(Pruning.objects.values_list("name", flat=True)))
    rows = [Pruning(name=name, due_at=Now() + PRUNE_PAUSE) for name in new]
    Pruning.objects.bulk_create(rows, ignore_conflicts=True)
