"""The demo: a pipeline of five steps that waits, fails and recovers as requested. publishing.py has another one."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Literal

from pydantic import AliasChoices, AliasGenerator, BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from demo.publishing import DEMO_API, publish
from taskqueue import On, Permanent, Retry, current_task, pipeline, step

__all__ = ["DemoRequest", "demo_task", "publish"]

StepName = Literal["simulate-processing", "simulate-delay", "simulate-api-call", "demonstrate-retry", "return-result"]

# Short enough to watch. The default policy has five retries over 24 hours.
SOON = Retry.exponential(first=timedelta(seconds=1), retries=4, longest=timedelta(seconds=8))


class DemoRequest(BaseModel):
    """What the demo is to do."""

    model_config = ConfigDict(
        extra="forbid",
        populate_by_name=True,
        # Other programs may use camel case: simulateFailure is simulate_failure.
        alias_generator=AliasGenerator(validation_alias=lambda name: AliasChoices(name, to_camel(name))),
        json_schema_extra={"examples": [{"label": "hello", "delay_seconds": 2, "failures_before_success": 1}]},
    )

    label: str = Field(default="demo", min_length=1, max_length=100, description="A name for the task.")
    delay_seconds: float = Field(default=2, ge=0, le=60, description="How long simulate-delay takes.")
    simulate_failure: bool = Field(default=False, description="Fail for good in the step that fail_at_step names.")
    fail_at_step: StepName = Field(default="simulate-api-call", description="The step in which simulate_failure fails.")
    failures_before_success: int = Field(
        default=0,
        ge=0,
        le=10,
        description="How often demonstrate-retry fails before it succeeds; more than 4 is for good.",
    )

    task_id: str = Field(
        default="",
        max_length=100,
        description="The sender's own id. A second event with this id within 24 hours starts no task.",
    )
    force: bool = Field(default=False, exclude=True, description="Start a task in any case; this field is not stored.")


class Processed(BaseModel):
    """The processed label."""

    label: str
    words: int


class ApiResponse(BaseModel):
    """The answer of a simulated service."""

    status: int
    echo: str


class DemoResult(BaseModel):
    """The result of the demo."""

    label: str
    words: int
    api_status: int
    attempts: int


@pipeline(
    "demo/task",
    concurrency=10,
    on=On("demo/task.requested", key="{taskId}{task_id}", force="force"),
    announce=True,
)
def demo_task(request: DemoRequest) -> DemoResult:
    """Five steps: some work, a delay, a call to a service, a step that recovers from failures, and a result."""
    processed = simulate_processing(request)
    simulate_delay(request)
    response = simulate_api_call(processed, request)
    attempts = demonstrate_retry(request)
    return return_result(processed, response, attempts, request)


@step(retry=SOON)
def simulate_processing(request: DemoRequest) -> Processed:
    """Process the label."""
    fail_if_requested("simulate-processing", request)
    return Processed(label=request.label.strip(), words=len(request.label.split()))


@step(retry=SOON, timeout=timedelta(seconds=90))
def simulate_delay(request: DemoRequest) -> float:
    """Take a while, and report progress."""
    fail_if_requested("simulate-delay", request)
    parts = 20
    for part in range(parts):
        time.sleep(request.delay_seconds / parts)
        current_task().progress((part + 1) / parts, f"part {part + 1} of {parts}")
    return request.delay_seconds


@step(retry=SOON, timeout=timedelta(seconds=30), rate=DEMO_API)
def simulate_api_call(processed: Processed, request: DemoRequest) -> ApiResponse:
    """Simulate a call to a remote service."""
    fail_if_requested("simulate-api-call", request)
    return ApiResponse(status=200, echo=processed.label)


@step(retry=SOON)
def demonstrate_retry(request: DemoRequest) -> int:
    """Fail as often as requested, then succeed. Returns the number of attempts."""
    fail_if_requested("demonstrate-retry", request)
    attempt = current_task().attempt
    current_task().logger.info("attempt %s, of which %s fail", attempt, request.failures_before_success)
    if attempt <= request.failures_before_success:
        raise ConnectionError(f"simulated failure {attempt} of {request.failures_before_success}")
    return attempt


@step(retry=SOON)
def return_result(processed: Processed, response: ApiResponse, attempts: int, request: DemoRequest) -> DemoResult:
    """Combine the outputs."""
    fail_if_requested("return-result", request)
    return DemoResult(label=processed.label, words=processed.words, api_status=response.status, attempts=attempts)


def fail_if_requested(name: StepName, request: DemoRequest) -> None:
    """Raise an error that is not retried, if the request asks for one in this step."""
    if request.simulate_failure and request.fail_at_step == name:
        raise Permanent(f"simulated failure in {name}, as the request asked")
