"""Pipelines are rows before they ever ran."""

from __future__ import annotations

from contextlib import closing
from datetime import timedelta

import pytest
from django.db import transaction
from pydantic import BaseModel, Field

from taskqueue import Rate, Retry, pipeline, step
from taskqueue.engine.catalog.sync import sync_pipelines
from taskqueue.engine.worker.heartbeat import private_connection
from taskqueue.models import Pipeline, PipelineStep, RateLimit

pytestmark = pytest.mark.django_db


class Order(BaseModel):
    number: str = Field(examples=["A1"])
    express: bool = False


@step(retry=Retry.fixed(timedelta(minutes=1), retries=2), timeout=timedelta(seconds=30))
def pick(order: Order) -> int:
    return 1


@step.atomic
def pack(order: Order) -> str:
    return "packed"


def test_a_pipeline_is_mirrored_with_its_schemas_and_its_steps():
    @pipeline("mirror/order", retry=Retry.never())
    def fulfil(order: Order) -> str:
        """Send what was ordered."""
        return f"{pick(order)} {pack(order)}"

    sync_pipelines()

    row = Pipeline.objects.get(name="mirror/order")
    assert row.description == "Send what was ordered."
    assert set(row.payload_schema["properties"]) == {"number", "express"}
    assert row.payload_example == {"number": "A1", "express": False}
    assert row.result_schema == {"type": "string"}
    assert row.retry == []
    steps = row.known_steps.order_by("position").values_list("name", "atomic", "timeout", "retry")
    assert list(steps) == [
        ("pick", False, timedelta(seconds=30), [60.0, 60.0]),
        ("pack", True, None, [300.0, 1800.0, 7200.0, 21600.0, 55500.0]),
    ]


def test_a_step_that_the_body_names_no_more_is_forgotten_and_the_order_follows_the_code():
    @pipeline("mirror/changing")
    def before(order: Order) -> None:
        pick(order)
        pack(order)

    sync_pipelines()

    @step
    def label(order: Order) -> None: ...

    before.definition.function.__code__ = after.__code__
    before.definition.function.__globals__["label"] = label
    sync_pipelines()
    del before.definition.function.__globals__["label"]

    steps = PipelineStep.objects.filter(pipeline="mirror/changing").order_by("position").values_list("name", "position")
    assert list(steps) == [("label", 0), ("pick", 1)]


def after(order):
    label(order)  # type: ignore[name-defined]  # noqa: F821 - what the pipeline will find there
    pick(order)


def test_mirroring_twice_changes_nothing():
    sync_pipelines()
    before = list(PipelineStep.objects.order_by("pk").values())

    sync_pipelines()

    assert list(PipelineStep.objects.order_by("pk").values()) == before


def test_a_pipeline_whose_code_is_gone_keeps_its_row():
    Pipeline.objects.create(name="mirror/gone", payload_schema={}, result_schema={}, retry=[])

    sync_pipelines()

    assert Pipeline.objects.filter(name="mirror/gone").exists()


def test_what_stands_is_not_written_again_and_what_changed_is(django_assert_max_num_queries):
    sync_pipelines()

    with django_assert_max_num_queries(20):  # however many pipelines there are
        sync_pipelines()

    @pipeline("mirror/newcomer")
    def newcomer(order: Order) -> None:
        """Comes later."""

    sync_pipelines()
    assert Pipeline.objects.get(name="mirror/newcomer").description == "Comes later."

    newcomer.definition.policies.__dict__["version"] = "2"
    sync_pipelines()
    assert Pipeline.objects.get(name="mirror/newcomer").version == "2"


@pytest.mark.django_db(transaction=True)
def test_who_refers_to_a_pipeline_or_a_rate_need_not_wait_until_it_is_mirrored():
    @step(rate=Rate(5, per=timedelta(seconds=1), name="mirror-calls"))
    def call() -> None:
        """Something rated."""

    @pipeline("mirror/referred", throttle=Rate(5, per=timedelta(seconds=1), name="mirror-starts"))
    def refer() -> None:
        call()

    sync_pipelines()
    Pipeline.objects.filter(name="mirror/referred").update(definition_digest="as written by other code")
    RateLimit.objects.update(declared_count=4)

    with closing(private_connection()) as other, transaction.atomic():
        sync_pipelines()
        pipelines = other.execute("SELECT name FROM taskqueue_pipeline FOR KEY SHARE NOWAIT").fetchall()
        rates = other.execute("SELECT name FROM taskqueue_ratelimit FOR KEY SHARE NOWAIT").fetchall()
        assert ("mirror/referred",) in pipelines
        assert {("mirror-calls",), ("mirror-starts",)} <= set(rates)
    assert set(RateLimit.objects.filter(name__startswith="mirror-").values_list("declared_count", flat=True)) == {5}
