"""The secrets that an attempt may have put into its errors and logs: those that its task and its step were given."""

from __future__ import annotations

from taskqueue import masks
from taskqueue.definitions import PipelineDefinition, StepDefinition, registry
from taskqueue.engine import sql
from taskqueue.engine.execution.journal import Journal
from taskqueue.engine.runtime.lease import Lease
from taskqueue.errors import TaskqueueError
from taskqueue.json_values import codec


def secrets_at(journal: Journal, step: StepDefinition | None = None, arguments: str | None = None) -> list[str]:
    """The secrets that must not show in the errors and logs of a task's body, or of a step with these arguments.

    For a parallel step they include the parent task's, with one query if the parent's payload has any.

    Raises:
        DatabaseLost
    """
    lease = journal.lease
    try:
        return [
            *secrets_of(definition_of(lease), lease.payload),
            *(secrets_of(step, arguments) if step is not None and arguments is not None else ()),
            *(secrets_of_parent(journal) if lease.parallel_step else ()),
        ]
    except (TaskqueueError, ValueError):
        return []  # this code does not know the pipeline or the step: nothing of it has run


def definition_of(lease: Lease) -> PipelineDefinition | StepDefinition:
    if lease.parallel_step:
        return registry.step(lease.parallel_step)
    return registry.get(lease.pipeline).body_for(lease.version)


def secrets_of_parent(journal: Journal) -> list[str]:
    lease = journal.lease
    definition = registry.get(lease.pipeline).body_for(lease.version)
    if not definition.payload.has_secrets:
        return []
    rows = journal.write(sql.LOAD_PARENT, {"parent": lease.parent})
    return [secret for (payload,) in rows for secret in secrets_of(definition, payload)]


def secrets_of(definition: PipelineDefinition | StepDefinition, arguments: str) -> list[str]:
    """The secrets in the arguments, as JSON, that a pipeline or a step was given."""
    parameters = definition.payload if isinstance(definition, PipelineDefinition) else definition.arguments
    return masks.secrets_in(codec.read(arguments), *parameters.secret_schemas) if parameters.has_secrets else []
