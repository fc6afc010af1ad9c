"""The secrets that an attempt may have told of in its errors and logs."""

from __future__ import annotations

from taskqueue import codec, masks
from taskqueue.definitions import PipelineDefinition, StepDefinition, registry
from taskqueue.engine import sql
from taskqueue.engine.execution.journal import Journal
from taskqueue.engine.runtime.lease import Lease
from taskqueue.errors import TaskqueueError


def secrets_at(journal: Journal, step: StepDefinition | None = None, arguments: str | None = None) -> list[str]:
    """The secrets that a try may have told of: those that its task and its step were given.

    Of a parallel step those of the task that asked for it too: one query, if that has any.

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
    """What a lease executes."""
    if lease.parallel_step:
        return registry.step(lease.parallel_step)
    return registry.get(lease.pipeline).body_for(lease.version)


def secrets_of_parent(journal: Journal) -> list[str]:
    """The secrets in the payload of the task whose step a parallel step runs."""
    lease = journal.lease
    definition = registry.get(lease.pipeline).body_for(lease.version)
    if not definition.payload.has_secrets:
        return []
    rows = journal.write(sql.LOAD_PARENT, {"parent": lease.parent})
    return [secret for (payload,) in rows for secret in secrets_of(definition, payload)]


def secrets_of(definition: PipelineDefinition | StepDefinition, given: str) -> list[str]:
    """The secrets in what a pipeline or a step was given, as JSON."""
    takes = definition.payload if isinstance(definition, PipelineDefinition) else definition.arguments
    return masks.secrets_in(codec.read(given), *takes.marks) if takes.has_secrets else []
