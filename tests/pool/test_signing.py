"""What travels to the workers: no data of a task, and nothing that anybody else could have signed."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
from django.conf import settings
from django.core import signing
from django_q.conf import Conf
from django_q.core_signing import dumps
from django_q.models import OrmQ
from django_q.signing import BadSignature, PickleSerializer, SignedPackage

from taskqueue.engine import sql
from taskqueue.pool import claimed_tasks
from taskqueue.pool.notifier import Doorbell
from taskqueue.pool.signing import own_key
from tests.support.pipelines.basic import one_step

unpickled: list[str] = []


class Bomb:
    """Something whose unpickling runs code."""

    def __reduce__(self) -> Any:
        return unpickled.append, ("boom",)


@pytest.fixture(autouse=True)
def _nothing_unpickled():
    unpickled.clear()


@pytest.mark.django_db
def test_a_wake_up_names_one_function_and_carries_nothing():
    package = SignedPackage.loads(Doorbell()._wakeup)

    assert (
        package["func"]
        == "taskqueue.pool.claimed_tasks.answer"
        == f"{claimed_tasks.__name__}.{claimed_tasks.answer.__name__}"
    )
    assert (package["args"], package["kwargs"]) == ((), {})
    assert set(package) == {"id", "name", "func", "args", "kwargs", "save", "timeout", "started"}


def test_a_ring_is_a_notification_without_a_word():
    assert sql.RING.endswith("pg_notify(%(channel)s::text, '')")


@pytest.mark.django_db
def test_a_task_puts_no_message_into_the_queue_of_messages():
    one_step.enqueue(1)

    assert not OrmQ.objects.exists()


def test_messages_are_signed_with_a_key_that_signs_nothing_else():
    assert own_key(settings.SECRET_KEY) == Conf.SECRET_KEY
    assert settings.SECRET_KEY not in Conf.SECRET_KEY
    assert own_key("another") != Conf.SECRET_KEY


def test_what_the_project_signed_is_never_unpickled_whatever_its_salt():
    bomb = dumps(Bomb(), key=settings.SECRET_KEY, salt=Conf.PREFIX, serializer=PickleSerializer)

    with pytest.raises(BadSignature):
        SignedPackage.loads(bomb)
    assert unpickled == []


@pytest.mark.parametrize(
    "forged",
    [
        signing.dumps("x", salt="taskqueue"),
        signing.b64_encode(pickle.dumps(Bomb())).decode(),
        signing.b64_encode(pickle.dumps(Bomb())).decode() + ":1sS:x",
        "",
    ],
    ids=["of another salt", "unsigned", "with a wrong signature", "empty"],
)
def test_what_nobody_signed_is_not_unpickled(forged):
    with pytest.raises(BadSignature):
        SignedPackage.loads(forged)
    assert unpickled == []


def test_a_message_of_our_own_is_read():
    assert SignedPackage.loads(SignedPackage.dumps({"func": "print"})) == {"func": "print"}


@pytest.mark.django_db
def test_the_api_reads_json_and_nothing_else(admin_client):
    response = admin_client.post("/api/tasks", pickle.dumps(Bomb()), content_type="application/python-pickle")

    assert response.status_code == 415
    assert unpickled == []
