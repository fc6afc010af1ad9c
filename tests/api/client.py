"""A program that uses the client generated from the schema; test_clients runs it."""

import sys
from uuid import UUID

from shop_client import AuthenticatedClient
from shop_client.api.events import send_event
from shop_client.api.tasks import cancel_task, create_task, create_tasks, get_task_status, retry_task, run_task_now
from shop_client.models import (
    BillingFulfilPayload,
    BillingFulfilSubmission,
    CancelRequest,
    DemoTaskPayload,
    DemoTaskSubmission,
    EventSubmission,
    NoBody,
    Problem,
    RetryRequest,
    SentEvent,
    ShopFulfilPayload,
    ShopFulfilSubmission,
    SubmittedBatch,
    SubmittedTask,
    TaskBatch,
    TaskProgress,
    TaskSummary,
)

client = AuthenticatedClient(base_url=sys.argv[1], token=sys.argv[2])
order = ShopFulfilSubmission(pipeline="shop/fulfil", payload=ShopFulfilPayload(order_id=42))

made = create_task.sync(client=client, body=order, idempotency_key="order-42")
assert isinstance(made, SubmittedTask)
assert not made.duplicate
again = create_task.sync(client=client, body=order, idempotency_key="order-42")
assert isinstance(again, SubmittedTask)
assert (again.id, again.duplicate) == (made.id, True)

task_id: UUID = made.id
progress = get_task_status.sync(task_id, client=client)
assert isinstance(progress, TaskProgress)
assert progress.status == "queued"
refused = retry_task.sync(task_id, client=client, body=RetryRequest())
assert isinstance(refused, Problem)
assert (refused.status, refused.code) == (409, "task-not-retryable")
due = run_task_now.sync(task_id, client=client, body=NoBody())
assert isinstance(due, Problem)
assert due.code == "task-not-delayed"
ended = cancel_task.sync(task_id, client=client, body=CancelRequest(reason="not today"))
assert isinstance(ended, TaskSummary)
assert ended.status == "cancelled"

several = TaskBatch(
    tasks=[
        BillingFulfilSubmission(pipeline="billing/fulfil", payload=BillingFulfilPayload(invoice="A-1")),
        DemoTaskSubmission(pipeline="demo/task", payload=DemoTaskPayload(label="hello")),
    ]
)
batch = create_tasks.sync(client=client, body=several)
assert isinstance(batch, SubmittedBatch)
assert [task.pipeline for task in batch.tasks] == ["billing/fulfil", "demo/task"]

sent = send_event.sync(client=client, body=EventSubmission(name="order/paid", id="hook-1"))
assert isinstance(sent, SentEvent)
assert sent.tasks == []
