"""Every endpoint of the API. A project mounts them with `path("api/", include("taskqueue.urls"))`; and `metrics`."""

from __future__ import annotations

from django.urls import URLPattern, path, re_path, register_converter

from taskqueue import metrics as readings
from taskqueue.api.events import EventPlace, Events
from taskqueue.api.health import Live, Readiness
from taskqueue.api.metrics import Metrics
from taskqueue.api.openapi.pages import SchemaPlace, redoc, swagger
from taskqueue.api.pipelines import PipelinePauses, PipelinePlace, PipelineResumption, Pipelines
from taskqueue.api.status import task_status
from taskqueue.api.task_actions import TaskCancellation, TaskReruns, TaskRetries, TaskRunsNow
from taskqueue.api.tasks import TaskBatches, TaskPlace, TaskReasons, Tasks
from taskqueue.api.views import AnyCaseUUIDConverter, NameConverter, Nowhere

register_converter(AnyCaseUUIDConverter, "id")
register_converter(NameConverter, "taskqueue_pipeline")

metrics = Metrics.as_view(exposition=readings.exposition)
"""Where Prometheus asks: outside the API, for it is no JSON. A project mounts it with `path("metrics", metrics)`."""

app_name = "taskqueue"
urlpatterns: list[URLPattern] = [
    path("tasks", Tasks.as_view(), name="tasks"),
    path("tasks/batch", TaskBatches.as_view(), name="task-batches"),
    path("tasks/<id:task_id>", TaskPlace.as_view(), name="task"),
    path("tasks/<id:task_id>/status", task_status, name="task-status"),
    path("tasks/<id:task_id>/why", TaskReasons.as_view(), name="task-why"),
    path("tasks/<id:task_id>/retry", TaskRetries.as_view(), name="task-retry"),
    path("tasks/<id:task_id>/run-now", TaskRunsNow.as_view(), name="task-run-now"),
    path("tasks/<id:task_id>/cancel", TaskCancellation.as_view(), name="task-cancel"),
    path("tasks/<id:task_id>/rerun", TaskReruns.as_view(), name="task-rerun"),
    path("pipelines", Pipelines.as_view(), name="pipelines"),
    path("pipelines/<taskqueue_pipeline:name>/pause", PipelinePauses.as_view(), name="pipeline-pause"),
    path("pipelines/<taskqueue_pipeline:name>/resume", PipelineResumption.as_view(), name="pipeline-resume"),
    path("pipelines/<taskqueue_pipeline:name>", PipelinePlace.as_view(), name="pipeline"),
    path("events", Events.as_view(), name="events"),
    path("events/<id:event_id>", EventPlace.as_view(), name="event"),
    path("health/live", Live.as_view(), name="live"),
    path("health/ready", Readiness.as_view(), name="ready"),
    path("schema", SchemaPlace.as_view(), name="schema"),
    path("docs", swagger, name="docs"),
    path("redoc", redoc, name="redoc"),
    re_path(r"", Nowhere.as_view()),
]
