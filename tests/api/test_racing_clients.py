"""Two hundred clients, one idempotency key, one task."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
from django.db import connection

from taskqueue.models import IdempotencyKey, Task
from tests.support.api import Api

CLIENTS = 200
AT_ONCE = 20
BODY = {"pipeline": "shop/order", "payload": {"number": "A1"}, "key": "order-42"}


@pytest.mark.django_db(transaction=True)
def test_two_hundred_clients_racing_with_one_key_make_one_task(settings):
    settings.DEBUG = True
    start = Barrier(AT_ONCE)

    def race(_runner: int) -> list[tuple[int, str, bool]]:
        callers = [Api(SERVER_NAME="localhost") for _ in range(CLIENTS // AT_ONCE)]
        start.wait(timeout=90)
        try:
            answers = [caller.post("/api/tasks", BODY) for caller in callers]
            return [(answer.status_code, answer.json()["id"], answer.json()["duplicate"]) for answer in answers]
        finally:
            connection.close()

    with ThreadPoolExecutor(AT_ONCE) as runners:
        answers = [answer for made in runners.map(race, range(AT_ONCE)) for answer in made]

    task = Task.objects.get()
    assert IdempotencyKey.objects.count() == 1
    assert Counter(answers) == {(202, str(task.pk), False): 1, (200, str(task.pk), True): CLIENTS - 1}
