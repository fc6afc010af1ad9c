"""Pipelines have rows before their first run."""

from __future__ import annotations

from contextlib import closing
from datetime import timedelta

import pytest
from django.db import transaction
from pydantic import BaseModel, Field

from taskqueue import Rate, Retry, pipeline, step
from taskqueue.engine.catalog.sync import sync_pipelines
from taskqueue.engine.worker.heartbeat_thread import private_connection
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


def test_a_pipeline_is_synced_with_its_schemas_and_steps():
    @pipeline("sync/order", retry=Retry.never())
    def fulfil(order: Order) -> str:
        """Send what was ordered."""
        return f"{pick(order)} {pack(order)}"

    sync_pipelines()

    row = Pipeline.objects.get(name="sync/order")
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


def test_removed_steps_are_deleted_and_the_order_follows_the_code():
    @pipeline("sync/changing")
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

    steps = PipelineStep.objects.filter(pipeline="sync/changing").order_by("position").values_list("name", "position")
    assert list(steps) == [("label", 0), ("pick", 1)]


def after(order):
    label(order)  # type: ignore[name-defined]  # noqa: F821 - what the pipeline will find there
    pick(order)


def test_syncing_twice_changes_nothing():
    sync_pipelines()
    before = list(PipelineStep.objects.order_by("pk").values())

    sync_pipelines()

    assert list(PipelineStep.objects.order_by("pk").values()) == before


def test_a_pipeline_whose_code_is_gone_keeps_its_row():
    Pipeline.objects.create(name="sync/gone", payload_schema={}, result_schema={}, retry=[])

    sync_pipelines()

    assert Pipeline.objects.filter(name="sync/gone").exists()


def test_only_changed_definitions_are_written(django_assert_max_num_queries):
    sync_pipelines()

    with django_assert_max_num_queries(20):  # however many pipelines there are
        sync_pipelines()

    @pipeline("sync/newcomer")
    def newcomer(order: Order) -> None:
        """Comes later."""

    sync_pipelines()
    assert Pipeline.objects.get(name="sync/newcomer").description == "Comes later."

    newcomer.definition.policies.__dict__["version"] = "2"
    sync_pipelines()
    assert Pipeline.objects.get(name="sync/newcomer").version == "2"


@pytest.mark.django_db(transaction=True)
def test_a_sync_does_not_block_inserts_that_refer_to_its_rows():
    @step(rate=Rate(5, per=timedelta(seconds=1), name="sync-calls"))
    def call() -> None:
        """A rated step."""

    @pipeline("sync/referred", throttle=Rate(5, per=timedelta(seconds=1), name="sync-starts"))
    def refer() -> None:
        call()

    sync_pipelines()
    Pipeline.objects.filter(name="sync/referred").update(definition_digest="as written by other code")
    RateLimit.objects.update(declared_count=4)

    with closing(private_connection()) as other, transaction.atomic():
        sync_pipelines()
        pipelines = other.execute("SELECT name FROM taskqueue_pipeline FOR KEY SHARE NOWAIT").fetchall()
        rates = other.execute("SELECT name FROM taskqueue_ratelimit FOR KEY SHARE NOWAIT").fetchall()
        assert ("sync/referred",) in pipelines
        assert {("sync-calls",), ("sync-starts",)} <= set(rates)
    assert set(RateLimit.objects.filter(name__startswith="sync-").values_list("declared_count", flat=True)) == {5}
