"""Pipelines, as the deployed code defines them."""

from __future__ import annotations

from rest_framework.request import Request
from rest_framework.response import Response

from taskqueue.api import descriptions
from taskqueue.api.doors import Door, described
from taskqueue.api.problems import PipelineNotFound
from taskqueue.api.serializers import PipelineDetail, PipelineList
from taskqueue.engine import queries, skips


class Pipelines(Door):
    """All pipelines."""

    needs = {"GET": ("taskqueue.view_pipeline",)}

    @described(descriptions.LIST_PIPELINES)
    def get(self, request: Request) -> Response:
        """List them."""
        return Response(PipelineList({"pipelines": queries.pipelines()}).data)


class PipelinePlace(Door):
    """One pipeline."""

    needs = {"GET": ("taskqueue.view_pipeline",)}

    @described(descriptions.GET_PIPELINE)
    def get(self, request: Request, name: str) -> Response:
        """What it takes, does and returns."""
        pipeline = None if "\x00" in name else queries.pipelines().select_related("schedule").filter(pk=name).first()
        if pipeline is None:
            raise PipelineNotFound(f"No pipeline is called {name!r}.")
        pipeline.latest_skips = skips.of_pipeline(pipeline)  # type: ignore[attr-defined]  # for its serializer
        return Response(PipelineDetail(pipeline).data)
