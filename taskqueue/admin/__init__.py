"""The admin pages: watch tasks, see why they failed, retry or cancel them. Importing this package registers its pages.

overview          the first page: failures that need attention, and how the last hours went
tasks             the list of tasks: columns, filters, tabs, bulk actions, export
task              the page of one task: steps, attempts, timeline, actions
pipelines         list and page of pipelines; submit a task, pause, change limits
rate_limits       rate limits, their usage, concurrency limits; block a rate limit
bulk_operations   an action on all tasks that match a filter
questions         the questions that a user may answer, and the form of an answer
events            list and page of events; send an event
search            search syntax and URL parameters of the lists
shared            parts of several pages: HTML, charts, forms, filters
"""

from taskqueue.admin import alerts, audit, permissions, schedules, subscriptions, tokens, workers
from taskqueue.admin.bulk_operations.admin import BulkOperationAdmin
from taskqueue.admin.events.admin import EventAdmin
from taskqueue.admin.object_tasks import TasksOfObject
from taskqueue.admin.overview.admin import OverviewAdmin
from taskqueue.admin.pipelines.admin import PipelineAdmin
from taskqueue.admin.questions.admin import QuestionAdmin
from taskqueue.admin.rate_limits.admin import RateLimitAdmin
from taskqueue.admin.tasks.admin import TaskAdmin

__all__ = [
    "BulkOperationAdmin",
    "EventAdmin",
    "OverviewAdmin",
    "PipelineAdmin",
    "QuestionAdmin",
    "RateLimitAdmin",
    "TaskAdmin",
    "TasksOfObject",
    "alerts",
    "audit",
    "permissions",
    "schedules",
    "subscriptions",
    "tokens",
    "workers",
]  # fmt: skip
