"""Messages to the workers carry no task data, and must be signed with the project's own key."""

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
from taskqueue.pool.notifier import NotifierBroker
from taskqueue.pool.signing import own_key
from tests.support.pipelines.basic import one_step

unpickled: list[str] = []


class Bomb:
    """An object whose unpickling runs code."""

    def __reduce__(self) -> Any:
        return unpickled.append, ("boom",)


@pytest.fixture(autouse=True)
def _nothing_unpickled():
    unpickled.clear()


@pytest.mark.django_db
def test_a_wakeup_names_one_function_and_carries_no_data():
    package = SignedPackage.loads(NotifierBroker()._wakeup)

    assert (
        package["func"]
        == "taskqueue.pool.claimed_tasks.run_claimed_tasks"
        == f"{claimed_tasks.__name__}.{claimed_tasks.run_claimed_tasks.__name__}"
    )
    assert (package["args"], package["kwargs"]) == ((), {})
    assert set(package) == {"id", "name", "func", "args", "kwargs", "save", "timeout", "started", "ack_id"}


def test_a_notification_carries_no_data():
    assert sql.NOTIFY.endswith("pg_notify(%(channel)s::text, '')")


@pytest.mark.django_db
def test_enqueueing_a_task_creates_no_message():
    one_step.enqueue(1)

    assert not OrmQ.objects.exists()


def test_messages_have_a_signing_key_of_their_own():
    assert own_key(settings.SECRET_KEY) == Conf.SECRET_KEY
    assert settings.SECRET_KEY not in Conf.SECRET_KEY
    assert own_key("another") != Conf.SECRET_KEY


def test_values_signed_by_the_project_are_never_unpickled():
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
def test_unsigned_messages_are_not_unpickled(forged):
    with pytest.raises(BadSignature):
        SignedPackage.loads(forged)
    assert unpickled == []


def test_a_signed_message_is_read():
    assert SignedPackage.loads(SignedPackage.dumps({"func": "print"})) == {"func": "print"}


@pytest.mark.django_db
def test_the_api_reads_only_json(admin_client):
    response = admin_client.post("/api/tasks", pickle.dumps(Bomb()), content_type="application/python-pickle")

    assert response.status_code == 415
    assert unpickled == []
