"""Submit many tasks in one transaction."""

from __future__ import annotations

from django.db import transaction
from django.utils.decorators import method_decorator
from rest_framework.request import Request
from rest_framework.response import Response

from taskqueue.api.authentication import actor_of, pipeline_permissions_of
from taskqueue.api.json_parser import BatchParser, parse_body
from taskqueue.api.openapi.operations import operation
from taskqueue.api.requests import Batch, invalid_key
from taskqueue.api.tasks.serializers import SubmittedBatch
from taskqueue.api.tasks.submit import representation
from taskqueue.api.views import ApiView
from taskqueue.engine.actions import submissions
from taskqueue.engine.actions.callbacks import require_submission
from taskqueue.engine.enqueue import bulk


# A batch repeats its transaction after a deadlock, which it could not do inside the project's (ATOMIC_REQUESTS).
@method_decorator(transaction.non_atomic_requests, name="dispatch")
class TaskBatchView(ApiView):
    required_permissions = {"POST": ("taskqueue.add_task",)}
    parser_classes = (BatchParser,)

    @operation(
        "createTasks",
        "Submit tasks in bulk (all or nothing)",
        "Up to 1,000 tasks in one transaction: workers see all of them or none. All are checked first. If one is "
        "refused, none is created; the answer has the status and code of the first error and a pointer to each. "
        "If a key occurs twice, its second entry returns the first one's task as a duplicate. Give every task a key, "
        "so that sending the batch again creates nothing twice.",
        tag="tasks",
        success={202: (SubmittedBatch, "The tasks, one for each entry of the request, in its order.")},
        body="TaskBatch",
    )
    def post(self, request: Request) -> Response:
        items = parse_body(Batch, request.data).tasks
        if "Idempotency-Key" in request.headers:
            raise invalid_key(
                "The header Idempotency-Key works for one task, not for a batch. Give each task of the batch a `key` "
                "of its own: then the batch can be sent again.",
                pointer="",
            )
        permissions = pipeline_permissions_of(request)
        permissions.load_all()
        bulk.for_each_item(items, lambda each: require_submission(permissions, each.pipeline, each.callback_url))
        wanted = bulk.for_each_item(
            items, lambda each: bulk.Request(each.pipeline, each.payload, each.options(header=None))
        )
        tasks = submissions.submit_many(wanted, actor=actor_of(request))
        pairs = zip(wanted, tasks, strict=True)
        return Response(
            {"tasks": [representation(request, task, key=each.options.key) for each, task in pairs]}, status=202
        )
