"""Versions: an old body is kept for the tasks that began on it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from taskqueue.codec import Payload, Result
from taskqueue.definitions import PipelineDefinition, check_function, check_version
from taskqueue.errors import DefinitionError


def keep(definition: PipelineDefinition, version: str, function: Callable[..., Any]) -> None:
    """Let a pipeline run its tasks of this version with this body. All other options are the pipeline's.

    Raises:
        DefinitionError: it cannot work, with a hint.
    """
    what = f"Version {version!r} of pipeline {definition.name!r}"
    check_function(function, what, decorator="@….version(…)")
    check_version(version, what)
    if version == definition.policies.version:
        raise DefinitionError(
            f"{what} is the one that it has now.",
            hint="Give the present body a new one: @pipeline(…, version=…).",
        )
    if version in definition.versions:
        raise DefinitionError(f"{what} is defined twice.", hint="Keep one body for each version.")
    definition.versions[version] = replace(
        definition,
        function=function,
        payload=Payload(function),
        result=Result(function),
        policies=replace(definition.policies, version=version),
        versions={},
    )
