"""What the ways to start a pipeline ask of its parameters."""

from __future__ import annotations

import inspect
from typing import get_origin

from taskqueue import codec
from taskqueue.definitions.pipelines import PipelineDefinition
from taskqueue.errors import DefinitionError, TaskqueueError


def check_starts(definition: PipelineDefinition) -> None:
    """See that a batch has a list to gather in, and that the clock can call the pipeline.

    Raises:
        DefinitionError: it cannot work, with a hint.
    """
    if definition.policies.batch is not None:
        check_batch(definition)
    if definition.policies.cron is not None:
        check_clock(definition)


def check_batch(definition: PipelineDefinition) -> None:
    """See that the sole parameter is a plain list."""
    hints = codec.hints_of(definition.function)
    kinds = [hints.get(name) for name in definition.payload.signature.parameters]
    if len(kinds) != 1 or not (kinds[0] is list or get_origin(kinds[0]) is list):
        raise DefinitionError(
            f"Pipeline {definition.name!r} has a batch and not exactly one list as its parameter.",
            hint="The requests' items are gathered in it: write def function(items: list[Item]).",
        )


def check_clock(definition: PipelineDefinition) -> None:
    """See that it can be called without arguments."""
    what = f"Pipeline {definition.name!r} has a cron"
    parameters = definition.payload.signature.parameters.values()
    needed = [parameter.name for parameter in parameters if parameter.default is inspect.Parameter.empty]
    if needed:
        raise DefinitionError(
            f"{what} and needs {', '.join(needed)}.",
            hint="The clock gives no arguments: give each parameter a default. "
            "current_task().scheduled_for tells which tick it is.",
        )
    try:
        definition.payload.pack((), {})
    except TaskqueueError as error:
        raise DefinitionError(f"{what}, and its defaults do not fit: {error}", hint="Correct the defaults.") from error
