"""What authors define: frozen descriptions of pipelines and steps, and the registry that knows them by name."""

from taskqueue.definitions.checks import (
    KEY_MAX_LENGTH,
    NAME_MAX_LENGTH,
    PIPELINE_NAME,
    STEP_NAME,
    check_function,
    check_retry,
    check_timeout,
    check_version,
)
from taskqueue.definitions.fingerprints import fingerprint
from taskqueue.definitions.pipelines import HANDLERS, PipelineDefinition, Policies, handled_by
from taskqueue.definitions.registry import Registry, place_of, registry
from taskqueue.definitions.starts import check_starts
from taskqueue.definitions.steps import StepDefinition, stand_ins, steps_named_in

__all__ = [
    "HANDLERS",
    "KEY_MAX_LENGTH",
    "NAME_MAX_LENGTH",
    "PIPELINE_NAME",
    "STEP_NAME",
    "PipelineDefinition",
    "Policies",
    "Registry",
    "StepDefinition",
    "check_function",
    "check_retry",
    "check_starts",
    "check_timeout",
    "check_version",
    "fingerprint",
    "handled_by",
    "place_of",
    "registry",
    "stand_ins",
    "steps_named_in",
]
