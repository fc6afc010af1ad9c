"""Pipelines, as the deployed code defines them."""

from __future__ import annotations

from collections.abc import Iterable

from rest_framework.request import Request
from rest_framework.response import Response

from taskqueue import errors
from taskqueue.api.authentication import actor_of, may
from taskqueue.api.json_parser import fitted
from taskqueue.api.openapi import operations
from taskqueue.api.pipeline_serializers import PipelineDetail, PipelineList
from taskqueue.api.problems import PipelineNotFound
from taskqueue.api.requests import NoBody, PauseRequest
from taskqueue.api.views import Door, described
from taskqueue.engine.actions import audited
from taskqueue.engine.queries import skips, tasks
from taskqueue.engine.queries.pipeline_stats import figures_of
from taskqueue.models import Pipeline


class Pipelines(Door):
    """All pipelines."""

    needs = {"GET": ("taskqueue.view_pipeline",)}

    @described(operations.LIST_PIPELINES)
    def get(self, request: Request) -> Response:
        """List them."""
        return Response(PipelineList({"pipelines": with_figures(tasks.pipelines())}).data)


class PipelinePlace(Door):
    """One pipeline."""

    needs = {"GET": ("taskqueue.view_pipeline",)}

    @described(operations.GET_PIPELINE)
    def get(self, request: Request, name: str) -> Response:
        """What it takes, does and returns."""
        return described_pipeline(request, name)


class PipelinePauses(Door):
    """Pauses of a pipeline."""

    needs = {
        "GET": ("taskqueue.view_pipeline",),
        "POST": ("taskqueue.view_pipeline", "taskqueue.pause_pipeline"),
    }
    statuses = {errors.UnknownPipeline: 404}

    @described(operations.PAUSE_PIPELINE)
    def post(self, request: Request, name: str) -> Response:
        """Let none of its tasks start or go on."""
        asked = fitted(PauseRequest, request.data)
        audited.pause(possible(name), reason=asked.reason, actor=actor_of(request))
        return described_pipeline(request, name)

    @described({"exclude": True})
    def get(self, request: Request, name: str) -> Response:
        """A pipeline whose own name ends so."""
        return described_pipeline(request, f"{name}/pause")


class PipelineResumption(Door):
    """The end of a pipeline's pause."""

    needs = PipelinePauses.needs
    statuses = {errors.UnknownPipeline: 404}

    @described(operations.RESUME_PIPELINE)
    def post(self, request: Request, name: str) -> Response:
        """Let its tasks start and go on."""
        fitted(NoBody, request.data)
        audited.resume(possible(name), actor=actor_of(request))
        return described_pipeline(request, name)

    @described({"exclude": True})
    def get(self, request: Request, name: str) -> Response:
        """A pipeline whose own name ends so."""
        return described_pipeline(request, f"{name}/resume")


def possible(name: str) -> str:
    """A name that PostgreSQL can compare with.

    Raises:
        PipelineNotFound: no pipeline can have it.
    """
    if "\x00" in name:
        raise PipelineNotFound(f"No pipeline is called {name!r}.")
    return name


def described_pipeline(request: Request, name: str) -> Response:
    """The answer that tells everything about a pipeline, as far as the caller may see it.

    Raises:
        PipelineNotFound
    """
    pipeline = None if "\x00" in name else tasks.pipelines().select_related("schedule").filter(pk=name).first()
    if pipeline is None:
        raise PipelineNotFound(f"No pipeline is called {name!r}.")
    sees_skips = may(request, "taskqueue.view_skip")
    pipeline.latest_skips = skips.of_pipeline(pipeline) if sees_skips else []  # type: ignore[attr-defined]  # for its serializer
    return Response(PipelineDetail(with_figures([pipeline])[0]).data)


def with_figures(pipelines: Iterable[Pipeline]) -> list[Pipeline]:
    """Pipelines that tell how they do."""
    found = list(pipelines)
    figures = figures_of(pipeline.name for pipeline in found)
    for pipeline in found:
        pipeline.figures = figures[pipeline.name]  # type: ignore[attr-defined]  # for their serializer
    return found
