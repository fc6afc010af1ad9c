"""The endpoints of the API: mount them with `path("api/", include("taskqueue.urls"))`."""

from __future__ import annotations

from django.urls import URLPattern, path, re_path, register_converter

from taskqueue.answer_page import answer_page
from taskqueue.api.events import EventDetailView, EventListView
from taskqueue.api.health import LivenessView, ReadinessView
from taskqueue.api.metrics import MetricsView
from taskqueue.api.openapi.pages import SchemaView, redoc, swagger
from taskqueue.api.operators.alert_rules import (
    AlertRuleDetailView,
    AlertRuleEndSilenceView,
    AlertRuleListView,
    AlertRuleSilenceView,
    AlertRuleTestView,
)
from taskqueue.api.operators.bulk_operations import (
    BulkOperationAbortView,
    BulkOperationDetailView,
    BulkOperationListView,
    BulkOperationPreviewView,
)
from taskqueue.api.operators.concurrency_limits import ConcurrencyLimitDetailView, ConcurrencyLimitListView
from taskqueue.api.operators.permissions import PermissionDetailView, PermissionListView
from taskqueue.api.operators.rate_limits import (
    RateLimitBlockView,
    RateLimitDetailView,
    RateLimitListView,
    RateLimitUnblockView,
)
from taskqueue.api.operators.schedules import ScheduleListView, ScheduleRunView
from taskqueue.api.operators.skips import SkipListView
from taskqueue.api.operators.tokens import TokenListView, TokenRevokeView
from taskqueue.api.operators.workers import WorkerDrainView, WorkerListView, WorkerResumeView
from taskqueue.api.pipelines import PipelineDetailView, PipelineListView, PipelinePauseView, PipelineResumeView
from taskqueue.api.tasks.actions import TaskCancelView, TaskRerunView, TaskRetryView, TaskRunNowView
from taskqueue.api.tasks.batches import TaskBatchView
from taskqueue.api.tasks.queries import TaskDetailView, TaskListView, TaskWhyView
from taskqueue.api.tasks.questions import QuestionListView, TaskAnswerView
from taskqueue.api.tasks.status import task_status
from taskqueue.api.tasks.stream import task_stream
from taskqueue.api.views import AnyCaseUUIDConverter, NotFoundView, PipelineNameConverter
from taskqueue.api.webhooks.subscriptions import (
    SubscriptionDetailView,
    SubscriptionListView,
    SubscriptionRotateView,
    SubscriptionTestView,
)
from taskqueue.metrics import exposition

register_converter(AnyCaseUUIDConverter, "id")
register_converter(PipelineNameConverter, "taskqueue_pipeline")

metrics = MetricsView.as_view(exposition=exposition)
"""For Prometheus: mount it with `path("metrics", metrics)`. It is not in `urlpatterns`, because it is not JSON."""

app_name = "taskqueue"
urlpatterns: list[URLPattern] = [
    path("tasks", TaskListView.as_view(), name="tasks"),
    path("tasks/batch", TaskBatchView.as_view(), name="task-batches"),
    path("tasks/<id:task_id>", TaskDetailView.as_view(), name="task"),
    path("tasks/<id:task_id>/status", task_status, name="task-status"),
    path("tasks/<id:task_id>/stream", task_stream, name="task-stream"),
    path("tasks/<id:task_id>/why", TaskWhyView.as_view(), name="task-why"),
    path("tasks/<id:task_id>/retry", TaskRetryView.as_view(), name="task-retry"),
    path("tasks/<id:task_id>/run-now", TaskRunNowView.as_view(), name="task-run-now"),
    path("tasks/<id:task_id>/cancel", TaskCancelView.as_view(), name="task-cancel"),
    path("tasks/<id:task_id>/answer", TaskAnswerView.as_view(), name="task-answer"),
    path("questions", QuestionListView.as_view(), name="questions"),
    path("tasks/<id:task_id>/rerun", TaskRerunView.as_view(), name="task-rerun"),
    path("pipelines", PipelineListView.as_view(), name="pipelines"),
    path("pipelines/<taskqueue_pipeline:name>/pause", PipelinePauseView.as_view(), name="pipeline-pause"),
    path("pipelines/<taskqueue_pipeline:name>/resume", PipelineResumeView.as_view(), name="pipeline-resume"),
    path("pipelines/<taskqueue_pipeline:name>", PipelineDetailView.as_view(), name="pipeline"),
    path("schedules", ScheduleListView.as_view(), name="schedules"),
    path("schedules/<taskqueue_pipeline:name>/run", ScheduleRunView.as_view(), name="schedule-run"),
    path("subscriptions", SubscriptionListView.as_view(), name="subscriptions"),
    path("subscriptions/<int:subscription_id>", SubscriptionDetailView.as_view(), name="subscription"),
    path("subscriptions/<int:subscription_id>/rotate", SubscriptionRotateView.as_view(), name="subscription-rotate"),
    path("subscriptions/<int:subscription_id>/test", SubscriptionTestView.as_view(), name="subscription-test"),
    path("alert-rules", AlertRuleListView.as_view(), name="alert-rules"),
    path("alert-rules/<int:rule_id>", AlertRuleDetailView.as_view(), name="alert-rule"),
    path("alert-rules/<int:rule_id>/silence", AlertRuleSilenceView.as_view(), name="alert-rule-silence"),
    path("alert-rules/<int:rule_id>/end-silence", AlertRuleEndSilenceView.as_view(), name="alert-rule-end-silence"),
    path("alert-rules/<int:rule_id>/test", AlertRuleTestView.as_view(), name="alert-rule-test"),
    path("bulk-operations", BulkOperationListView.as_view(), name="bulk-operations"),
    path("bulk-operations/preview", BulkOperationPreviewView.as_view(), name="bulk-operation-preview"),
    path("bulk-operations/<id:operation_id>", BulkOperationDetailView.as_view(), name="bulk-operation"),
    path("bulk-operations/<id:operation_id>/abort", BulkOperationAbortView.as_view(), name="bulk-operation-abort"),
    path("workers", WorkerListView.as_view(), name="workers"),
    path("workers/<int:worker_id>/drain", WorkerDrainView.as_view(), name="worker-drain"),
    path("workers/<int:worker_id>/resume", WorkerResumeView.as_view(), name="worker-resume"),
    path("concurrency-limits", ConcurrencyLimitListView.as_view(), name="concurrency-limits"),
    path(
        "concurrency-limits/<taskqueue_pipeline:name>", ConcurrencyLimitDetailView.as_view(), name="concurrency-limit"
    ),
    path("rate-limits", RateLimitListView.as_view(), name="rate-limits"),
    path("rate-limits/<taskqueue_pipeline:rate>/block", RateLimitBlockView.as_view(), name="rate-limit-block"),
    path("rate-limits/<taskqueue_pipeline:rate>/unblock", RateLimitUnblockView.as_view(), name="rate-limit-unblock"),
    path("rate-limits/<taskqueue_pipeline:rate>", RateLimitDetailView.as_view(), name="rate-limit"),
    path("skips", SkipListView.as_view(), name="skips"),
    path("tokens", TokenListView.as_view(), name="tokens"),
    path("tokens/<int:token_id>/revoke", TokenRevokeView.as_view(), name="token-revoke"),
    path("permissions", PermissionListView.as_view(), name="permissions"),
    path("permissions/<int:permission_id>", PermissionDetailView.as_view(), name="permission"),
    path("events", EventListView.as_view(), name="events"),
    path("events/<id:event_id>", EventDetailView.as_view(), name="event"),
    path("health/live", LivenessView.as_view(), name="live"),
    path("health/ready", ReadinessView.as_view(), name="ready"),
    path("schema", SchemaView.as_view(), name="schema"),
    path("docs", swagger, name="docs"),
    path("redoc", redoc, name="redoc"),
    path("answer/<str:token>", answer_page, name="answer"),
    re_path(r"", NotFoundView.as_view()),
]
