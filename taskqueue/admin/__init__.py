"""The admin: where people watch tasks, understand them, and retry or cancel them. Importing it registers its pages.

overview          the first page: what needs attention, and how the last hours went
tasks             the list of tasks: columns, filters, tabs, bulk actions, export
task              one task: its steps, attempts and timeline, and what can be done about it
pipelines         their list and pages; submitting a task, pausing, changing limits
rate_limits       rates and limits, and blocking a rate
bulk_operations   a verb for all tasks that a filter matches
events            their list, and sending one
search            what the address and the search box of a list ask for
shared            what several pages use: HTML, charts, forms, filters
"""

from taskqueue.admin import audit, permissions, schedules, tokens, workers
from taskqueue.admin.bulk_operations.admin import BulkOperationAdmin
from taskqueue.admin.events.admin import EventAdmin
from taskqueue.admin.object_tasks import TasksOfObject
from taskqueue.admin.overview.admin import OverviewAdmin
from taskqueue.admin.pipelines.admin import PipelineAdmin
from taskqueue.admin.rate_limits.admin import RateAdmin
from taskqueue.admin.tasks.admin import TaskAdmin

__all__ = [
    "BulkOperationAdmin",
    "EventAdmin",
    "OverviewAdmin",
    "PipelineAdmin",
    "RateAdmin",
    "TaskAdmin",
    "TasksOfObject",
    "audit",
    "permissions",
    "schedules",
    "tokens",
    "workers",
]  # fmt: skip
