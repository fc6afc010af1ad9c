"""Pipelines: list them, get one, pause and resume one."""

from __future__ import annotations

from collections.abc import Iterable

from rest_framework.request import Request
from rest_framework.response import Response

from taskqueue import errors
from taskqueue.api.authentication import actor_of, has_permissions
from taskqueue.api.json_parser import parse_body
from taskqueue.api.openapi.operations import hidden_operation, operation
from taskqueue.api.pipeline_serializers import PipelineDetail, PipelineList
from taskqueue.api.problems import PipelineNotFound
from taskqueue.api.requests import NoBody, PauseRequest
from taskqueue.api.views import ApiView
from taskqueue.engine.queries import tasks
from taskqueue.engine.queries.pipeline_stats import pipeline_stats
from taskqueue.engine.tasks import control
from taskqueue.models import Pipeline


class PipelineListView(ApiView):
    """All pipelines."""

    required_permissions = {"GET": ("taskqueue.view_pipeline",)}

    @operation(
        "listPipelines",
        "List pipelines",
        "Every pipeline that deployed code has defined, with its numbers. Pipelines whose code is gone are listed as "
        "long as they have tasks.",
        tag="pipelines",
        success={200: (PipelineList, "The pipelines.")},
    )
    def get(self, request: Request) -> Response:
        return Response(PipelineList({"pipelines": with_stats(tasks.pipelines())}).data)


class PipelineDetailView(ApiView):
    """One pipeline."""

    required_permissions = {"GET": ("taskqueue.view_pipeline",)}

    @operation(
        "getPipeline",
        "Get a pipeline",
        "The JSON schemas of its payload and result, its steps, its schedule, how many unfinished tasks it has, the "
        "last 24 hours, and the latest skipped requests.",
        tag="pipelines",
        success={200: (PipelineDetail, "The pipeline.")},
    )
    def get(self, request: Request, name: str) -> Response:
        return pipeline_response(request, name)


class PipelinePauseView(ApiView):
    """Pause a pipeline."""

    required_permissions = {
        "GET": ("taskqueue.view_pipeline",),
        "POST": ("taskqueue.view_pipeline", "taskqueue.pause_pipeline"),
    }
    status_overrides = {errors.UnknownPipeline: 404}

    @operation(
        "pausePipeline",
        "Pause a pipeline",
        "No task of the pipeline starts or continues; a running one stops after its current step. New tasks are still "
        "accepted.",
        tag="pipelines",
        success={200: (PipelineDetail, "The paused pipeline.")},
        body=PauseRequest,
    )
    def post(self, request: Request, name: str) -> Response:
        reason = parse_body(PauseRequest, request.data).reason
        control.pause_pipeline(refuse_nul(name), reason=reason, actor=actor_of(request))
        return pipeline_response(request, name)

    @hidden_operation
    def get(self, request: Request, name: str) -> Response:
        return pipeline_response(request, f"{name}/pause")


class PipelineResumeView(ApiView):
    """Resume a pipeline."""

    required_permissions = PipelinePauseView.required_permissions
    status_overrides = {errors.UnknownPipeline: 404}

    @operation(
        "resumePipeline",
        "Resume a pipeline",
        "Its tasks start and continue in queue order.",
        tag="pipelines",
        success={200: (PipelineDetail, "The resumed pipeline.")},
        body=NoBody,
    )
    def post(self, request: Request, name: str) -> Response:
        parse_body(NoBody, request.data)
        control.resume_pipeline(refuse_nul(name), actor=actor_of(request))
        return pipeline_response(request, name)

    @hidden_operation
    def get(self, request: Request, name: str) -> Response:
        return pipeline_response(request, f"{name}/resume")


def refuse_nul(name: str) -> str:
    """The name, unless it has a NUL character: PostgreSQL refuses to compare with one.

    Raises:
        PipelineNotFound
    """
    if "\x00" in name:
        raise PipelineNotFound(f"No pipeline is called {name!r}.")
    return name


def pipeline_response(request: Request, name: str) -> Response:
    """The answer with a pipeline; its skipped requests only for callers with `view_skip`.

    Raises:
        PipelineNotFound
    """
    pipeline = tasks.pipelines().select_related("schedule").filter(pk=refuse_nul(name)).first()
    if pipeline is None:
        raise PipelineNotFound(f"No pipeline is called {name!r}.")
    sees_skips = has_permissions(request, "taskqueue.view_skip")
    pipeline.latest_skips = tasks.skips_of(pipeline) if sees_skips else []  # type: ignore[attr-defined]  # for its serializer
    return Response(PipelineDetail(with_stats([pipeline])[0]).data)


def with_stats(pipelines: Iterable[Pipeline]) -> list[Pipeline]:
    """The pipelines, each with its stats attached for the serializer."""
    found = list(pipelines)
    stats = pipeline_stats(pipeline.name for pipeline in found)
    for pipeline in found:
        pipeline.stats = stats[pipeline.name]  # type: ignore[attr-defined]  # for their serializer
    return found
