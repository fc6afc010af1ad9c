"""A token's rate: so many requests in a minute, over all processes."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.db.models import F

from taskqueue.engine.actions import tokens
from taskqueue.models import Token
from tests.support.api import Api, problem_of


def caller(per_minute: int | None) -> Api:
    """A client whose token is limited to a number of requests per minute."""
    user = User.objects.create_user("robot")
    user.user_permissions.set(Permission.objects.filter(codename="view_task"))
    return Api(HTTP_AUTHORIZATION=f"Bearer {tokens.issue(user, name='t', per_minute=per_minute)[1]}")


def pass_time(seconds: float) -> None:
    """As if so much time had passed since the last request."""
    Token.objects.update(theoretical_arrival_at=F("theoretical_arrival_at") - timedelta(seconds=seconds))


def statuses(api: Api, number: int) -> list[int]:
    return [api.get("/api/tasks").status_code for _ in range(number)]


@pytest.mark.django_db
def test_requests_over_the_rate_are_answered_429():
    api = caller(per_minute=12)

    assert statuses(api, 2) == [200, 200]
    refused = api.get("/api/tasks")

    assert problem_of(refused) == (429, "too-many-requests", [])
    assert 1 <= int(refused["Retry-After"]) <= 5


@pytest.mark.django_db
def test_after_retry_after_the_next_request_passes():
    api = caller(per_minute=12)
    statuses(api, 3)

    pass_time(5)

    assert statuses(api, 2) == [200, 429]


@pytest.mark.django_db
def test_refused_requests_do_not_delay_the_next_one():
    api = caller(per_minute=12)
    statuses(api, 20)

    pass_time(5)

    assert statuses(api, 1) == [200]


@pytest.mark.django_db
def test_the_burst_is_ten_seconds_of_the_rate():
    caller(per_minute=12)
    token = Token.objects.get()
    tokens.wait_of(token)

    pass_time(3600)

    assert [bool(tokens.wait_of(token)) for _ in range(4)] == [False, False, True, True]


@pytest.mark.django_db
def test_each_token_has_its_own_rate():
    first = caller(per_minute=1)
    other = tokens.issue(User.objects.get(), name="other", per_minute=1)[1]

    assert statuses(first, 2) == [200, 429]
    assert statuses(Api(HTTP_AUTHORIZATION=f"Bearer {other}"), 1) == [200]


@pytest.mark.django_db
def test_a_token_without_a_rate_is_not_throttled(django_assert_num_queries):
    api = caller(per_minute=None)

    assert statuses(api, 30) == [200] * 30
    token = Token.objects.get()
    with django_assert_num_queries(0):
        assert not tokens.wait_of(token)


@pytest.mark.django_db
def test_health_checks_are_not_throttled():
    api = caller(per_minute=1)

    assert [api.get("/api/health/live").status_code for _ in range(3)] == [200, 200, 200]


@pytest.mark.django_db(transaction=True)
def test_concurrent_requests_are_all_counted():
    caller(per_minute=1)
    token = Token.objects.get()

    def ask(_number: int) -> Any:
        try:
            return tokens.wait_of(token)
        finally:
            connection.close()

    with ThreadPoolExecutor(8) as pool:
        waits = list(pool.map(ask, range(16)))

    assert waits.count(timedelta(0)) == 1
    # The next slot is a minute away; a request that began earlier waits that much longer.
    assert all(wait <= timedelta(seconds=100) for wait in waits)


@pytest.mark.django_db
def test_a_request_without_permission_is_counted_too():
    api = caller(per_minute=12)

    answers = [api.get("/api/events").status_code for _ in range(3)]

    assert answers == [403, 403, 429]


@pytest.mark.django_db
def test_a_request_counts_once():
    api = caller(per_minute=12)

    assert [api.post("/api/tasks", {}).status_code, *statuses(api, 2)] == [403, 200, 429]
