"""Versions: old bodies that are kept for the tasks that began on them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from taskqueue.definitions import PipelineDefinition, check_function, check_version
from taskqueue.errors import DefinitionError
from taskqueue.json_values.typed import Payload, Result


def add_version(definition: PipelineDefinition, version: str, function: Callable[..., Any]) -> None:
    """Run a pipeline's tasks of this version with this body. All other options are the pipeline's.

    Raises:
        DefinitionError: the version or the function is not valid, with a hint.
    """
    what = f"Version {version!r} of pipeline {definition.name!r}"
    check_function(function, what, decorator="@….version(…)")
    check_version(version, what)
    if version == definition.policies.version:
        raise DefinitionError(
            f"{what} is its current version.",
            hint="Give the current body a new version: @pipeline(…, version=…).",
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
