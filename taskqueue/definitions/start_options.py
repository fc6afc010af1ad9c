"""What `batch` and `cron` require of a pipeline's parameters."""

from __future__ import annotations

import inspect
from typing import get_origin

from taskqueue.definitions.pipelines import PipelineDefinition
from taskqueue.errors import DefinitionError, TaskqueueError
from taskqueue.json_values import typed


def check_start_options(definition: PipelineDefinition) -> None:
    """Check that a batch can be passed as one list, and that cron can call the pipeline without arguments.

    Raises:
        DefinitionError: it cannot work, with a hint.
    """
    if definition.policies.batch is not None:
        check_batch(definition)
    if definition.policies.cron is not None:
        check_cron(definition)


def check_batch(definition: PipelineDefinition) -> None:
    hints = typed.hints_of(definition.function)
    kinds = [hints.get(name) for name in definition.payload.signature.parameters]
    if len(kinds) != 1 or not (kinds[0] is list or get_origin(kinds[0]) is list):
        raise DefinitionError(
            f"Pipeline {definition.name!r} has a batch and not exactly one list as its parameter.",
            hint="It gets the items of all requests: write def function(items: list[Item]).",
        )


def check_cron(definition: PipelineDefinition) -> None:
    what = f"Pipeline {definition.name!r} has a cron"
    parameters = definition.payload.signature.parameters.values()
    needed = [parameter.name for parameter in parameters if parameter.default is inspect.Parameter.empty]
    if needed:
        raise DefinitionError(
            f"{what} and needs {', '.join(needed)}.",
            hint="Cron passes no arguments: give each parameter a default. "
            "current_task().scheduled_for is the scheduled time.",
        )
    try:
        definition.payload.pack((), {})
    except TaskqueueError as error:
        raise DefinitionError(f"{what}, and its defaults do not fit: {error}", hint="Correct the defaults.") from error
