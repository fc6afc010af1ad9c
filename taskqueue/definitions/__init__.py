"""What authors define: frozen definitions of pipelines and steps, and the registry that has them by name."""

from taskqueue.definitions.checks import (
    KEY_MAX_LENGTH,
    NAME_MAX_LENGTH,
    PIPELINE_NAME,
    STEP_NAME,
    check_function,
    check_retry,
    check_start_options,
    check_timeout,
    check_version,
)
from taskqueue.definitions.fingerprints import fingerprint
from taskqueue.definitions.pipelines import (
    ALERT,
    DELIVERY,
    HANDLERS,
    INTERNAL,
    PipelineDefinition,
    Policies,
    pipeline_of_handler,
)
from taskqueue.definitions.registry import registry
from taskqueue.definitions.steps import StepDefinition, active_fakes

__all__ = [
    "ALERT",
    "DELIVERY",
    "HANDLERS",
    "INTERNAL",
    "KEY_MAX_LENGTH",
    "NAME_MAX_LENGTH",
    "PIPELINE_NAME",
    "STEP_NAME",
    "PipelineDefinition",
    "Policies",
    "StepDefinition",
    "active_fakes",
    "check_function",
    "check_retry",
    "check_start_options",
    "check_timeout",
    "check_version",
    "fingerprint",
    "pipeline_of_handler",
    "registry",
]
