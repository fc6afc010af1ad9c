"""When pipelines and steps are ordinary functions, and when a call becomes a task."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from pydantic import BaseModel

import taskqueue
from taskqueue import Retry, pipeline, step
from taskqueue.errors import InvalidOptions, InvalidPayload, NotSerializable, TooLarge
from taskqueue.models import Task
from taskqueue.testing import work
from tests.support.endings import finish, reload

pytestmark = pytest.mark.django_db


class Order(BaseModel):
    number: str
    amount: int = 1


def test_outside_a_task_both_are_ordinary_functions_and_nothing_is_recorded():
    @step(retry=Retry.never())
    def double(number: int) -> int:
        return number * 2

    @pipeline("calls/plain")
    def body(number: int) -> int:
        return double(number) + double.named("again")(number)

    assert body(3) == 12
    assert not Task.objects.exists()


def test_an_error_of_a_step_outside_a_task_is_the_error_itself():
    @step
    def broken() -> None:
        raise ConnectionError("no route")

    with pytest.raises(ConnectionError, match="no route"):
        broken()


def test_a_sole_model_is_the_payload_as_it_is():
    @pipeline("calls/model")
    def body(order: Order) -> str:
        return f"{type(order).__name__} {order.number}"

    task = body.enqueue(Order(number="A1"))

    assert Task.objects.get(pk=task.pk).payload == {"number": "A1", "amount": 1}
    assert finish(task).result == "Order A1"


def test_a_sole_model_by_keyword_only_is_passed_by_keyword():
    @pipeline("calls/keyword-model")
    def body(*, order: Order) -> str:
        return order.number

    assert finish(body.enqueue(order=Order(number="A1"))).result == "A1"


def test_several_parameters_are_the_payloads_fields_with_their_defaults():
    @pipeline("calls/fields")
    def body(number: str, /, amount: int = 2, *, json: bool = False, _id: int = 7) -> list[object]:
        return [number, amount, json, _id]

    task = body.enqueue("A1", json=True)

    assert Task.objects.get(pk=task.pk).payload == {"number": "A1", "amount": 2, "json": True, "_id": 7}
    assert finish(task).result == ["A1", 2, True, 7]


def test_a_pipeline_without_parameters_takes_an_empty_payload():
    @pipeline("calls/empty")
    def body() -> int:
        return 1

    task = body.enqueue()

    assert Task.objects.get(pk=task.pk).payload == {}
    assert finish(task).result == 1


def test_options_are_stored_on_the_task():
    @pipeline("calls/options")
    def body(number: int) -> int:
        return number

    due = datetime(2100, 1, 1, tzinfo=UTC)
    bound = body.using(key="order-42", priority=120, run_at=due, labels={"tenant": "a"})
    task = bound.enqueue(1)
    again = bound.enqueue(1)
    forced = body.using(key="order-42", force=True).enqueue(3)

    assert (task.status, task.due_at, task.priority, task.labels) == ("scheduled", due, 120, {"tenant": "a"})
    assert (again.pk, again.duplicate) == (task.pk, True)
    assert (forced.pk != task.pk, forced.duplicate) == (True, False)
    work()
    assert reload(task).status == "scheduled"


@pytest.mark.parametrize(
    ("options", "pointer"),
    [
        ({"key": "x" * 201}, "/key"),
        ({"key": "nul \x00"}, "/key"),
        ({"priority": 601}, "/priority"),
        ({"run_at": datetime(2100, 1, 1)}, "/run_at"),  # noqa: DTZ001 - which is the point
        ({"run_at": datetime.max.replace(tzinfo=UTC)}, "/run_at"),
        ({"labels": {"a/b": "half \ud800"}}, "/labels/a~1b"),
        ({"labels": {str(number): "" for number in range(21)}}, "/labels"),
    ],
)
def test_options_that_a_row_could_not_hold_are_refused_with_a_pointer(options, pointer):
    @pipeline("calls/wrong-options")
    def body() -> None: ...

    with pytest.raises(InvalidOptions) as refused:
        body.using(**options)

    assert [error.pointer for error in refused.value.errors] == [pointer]


def test_a_payload_that_does_not_fit_makes_no_task():
    @pipeline("calls/wrong")
    def body(number: int, note: str = "") -> None: ...

    with pytest.raises(InvalidPayload) as refused:
        body.enqueue("many")  # type: ignore[arg-type]
    assert [error.pointer for error in refused.value.errors] == ["/number"]

    with pytest.raises(NotSerializable) as unstorable:
        body.enqueue(1, note="nul \x00")
    assert [error.pointer for error in unstorable.value.errors] == ["/note"]

    with pytest.raises(TypeError, match="unexpected keyword"):
        body.enqueue(1, remark="")  # type: ignore[call-arg]

    with pytest.raises(TooLarge, match=r"The payload is 600,0\d\d bytes; the limit is 524,288"):
        body.enqueue(1, note="x" * 600_000)

    assert not Task.objects.exists()


def test_a_body_may_not_enqueue_but_a_step_may():
    @pipeline("calls/child")
    def child(number: int) -> int:
        return number

    @step
    def enqueue() -> str:
        return str(child.enqueue(5).pk)

    @pipeline("calls/parent")
    def body(where: str) -> str:
        return str(child.enqueue(5).pk) if where == "body" else enqueue()

    task = finish(body.enqueue("step"))
    assert finish(Task.objects.get(pk=task.result)).result == 5

    refused = finish(body.enqueue("body"))
    assert refused.error["type"] == "InvalidContext"
    assert "Call it in a step" in refused.error["message"]
    assert Task.objects.filter(pipeline="calls/child").count() == 1


def test_a_pipeline_called_inside_a_step_is_refused():
    @pipeline("calls/inner")
    def inner() -> int:
        return 1

    @step
    def call() -> int:
        return inner()

    @pipeline("calls/outer")
    def body() -> int:
        return call()

    task = finish(body.enqueue())

    assert task.error["type"] == "InvalidContext"
    assert "Call it in the pipeline's body" in task.error["message"]


def test_every_public_name_can_be_imported_and_is_the_authoring_surface():
    from taskqueue import authoring

    assert set(taskqueue.__all__) == set(authoring.__all__)
    assert all(getattr(taskqueue, name) is getattr(authoring, name) for name in taskqueue.__all__)
    with pytest.raises(AttributeError, match="no attribute 'job'"):
        taskqueue.job  # noqa: B018


def test_days_of_waits_end_in_order_of_time():
    @pipeline("calls/later")
    def body(number: int) -> int:
        return number

    later = body.using(run_at=datetime.now(UTC) + timedelta(days=1)).enqueue(1)
    assert finish(later).result == 1
