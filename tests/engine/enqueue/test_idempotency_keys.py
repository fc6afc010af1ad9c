"""Idempotency keys with equal and other payloads, and event ids with other content."""

from __future__ import annotations

import subprocess
import sys
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from pydantic import BaseModel, Field, SecretStr

from taskqueue import Batch, Debounce, pipeline
from taskqueue.digests import payload_digest
from taskqueue.engine.enqueue.enqueue import enqueue
from taskqueue.engine.enqueue.options import Options
from taskqueue.engine.events.send import send
from taskqueue.errors import KeyReused
from taskqueue.json_values import typed
from taskqueue.models import Event, IdempotencyKey, Skip, Task
from tests.support.pipelines.basic import one_step
from tests.support.registries import own_registry

pytestmark = pytest.mark.django_db


class Parcel(BaseModel):
    number: int
    tags: set[str] = set()
    nonce: str = Field(default_factory=lambda: uuid4().hex)
    note: str = "none"
    pin: SecretStr = SecretStr("")


@pytest.fixture(autouse=True)
def _parcels() -> Any:
    with own_registry():

        @pipeline("keys/parcel")
        def parcel(parcel: Parcel) -> None: ...

        @pipeline("keys/quiet", debounce=Debounce(timedelta(minutes=1)))
        def quiet(number: int) -> None: ...

        @pipeline("keys/gather", batch=Batch(5, wait=timedelta(minutes=1)))
        def gather(numbers: list[int]) -> None: ...

        yield


def again(payload: Any, *, pipeline: str = "keys/parcel", **options: Any) -> Task:
    return enqueue(pipeline, payload, options=Options(key="k", **options))


def test_a_key_with_another_payload_is_refused():
    first = one_step.using(key="k").enqueue(1)

    with pytest.raises(KeyReused, match=f"'k' belongs to task {first.pk}, which was created with another payload"):
        one_step.using(key="k").enqueue(2)

    assert Task.objects.count() == 1
    assert not Skip.objects.exists()
    assert one_step.using(key="k").enqueue(1).duplicate


def test_a_forced_task_gives_the_key_its_own_payload():
    one_step.using(key="k").enqueue(1)
    forced = one_step.using(key="k", force=True).enqueue(2)

    assert one_step.using(key="k").enqueue(2) == forced
    with pytest.raises(KeyReused):
        one_step.using(key="k").enqueue(1)


@pytest.mark.parametrize(
    "repetition",
    [
        {"number": 1},
        {"number": 1.0},
        {"number": 1, "note": "none", "tags": []},
        {"number": 1, "tags": ["a", "b"], "pin": ""},
    ],
    ids=["made by a factory", "coerced", "defaults written out", "a set in another order"],
)
def test_an_equal_payload_written_differently_is_a_duplicate(repetition):
    given = {"number": 1, **({"tags": ["b", "a"]} if repetition.get("tags") else {})}
    if len(repetition) > 1:
        given, repetition = {**given, "nonce": "n"}, {**repetition, "nonce": "n"}

    assert again(repetition) == again(given)


@pytest.mark.parametrize("change", [{"number": 2}, {"tags": ["c"]}, {"note": "other"}, {"pin": "1234"}])
def test_any_other_value_also_a_secret_is_another_payload(change):
    again({"number": 1, "pin": "1111"})

    with pytest.raises(KeyReused) as refused:
        again({"number": 1, "pin": "1111", **change})
    assert "1111" not in refused.value.detail


def test_priority_labels_and_time_do_not_count():
    assert again({"number": 1}, priority=5, labels={"a": "b"}) == again({"number": 1})


@pytest.mark.parametrize(("pipeline", "one", "other"), [("keys/quiet", 1, 2), ("keys/gather", [1], [2])])
def test_a_joined_requests_key_keeps_its_own_payload(pipeline, one, other):
    name = "number" if pipeline == "keys/quiet" else "numbers"
    enqueue(pipeline, {name: other})
    joined = again({name: one}, pipeline=pipeline)
    enqueue(pipeline, {name: other})

    assert again({name: one}, pipeline=pipeline) == joined
    with pytest.raises(KeyReused):
        again({name: other}, pipeline=pipeline)


def test_a_key_without_a_digest_is_not_compared():
    first = one_step.using(key="k").enqueue(1)
    IdempotencyKey.objects.update(payload_digest="")

    assert one_step.using(key="k").enqueue(2) == first


def test_the_digest_is_equal_in_every_process():
    code = (
        "from taskqueue.json_values import typed\nfrom taskqueue.digests import payload_digest\n"
        "def f(a: int, b: dict[str, int]): ...\n"
        "payload = typed.Payload(f)\n"
        "print(payload_digest(payload.check({'b': {'y': 1, 'x': 2}, 'a': 1})))"
    )
    other = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)

    def function(a: int, b: dict[str, int]) -> None: ...

    payload = typed.Payload(function).check({"a": 1, "b": {"x": 2, "y": 1}})
    assert other.stdout.strip() == payload_digest(payload)


@pytest.mark.parametrize("other", [("paid", {"order": 2}), ("unpaid", {"order": 1})])
def test_an_event_id_with_other_content_is_refused(other):
    first = send("paid", {"order": 1}, external_id="hook-1")

    with pytest.raises(KeyReused, match=f"'hook-1' belongs to event {first.pk}"):
        send(*other, external_id="hook-1")

    assert send("paid", {"order": 1.0}, external_id="hook-1").duplicate
    assert Event.objects.count() == 1
