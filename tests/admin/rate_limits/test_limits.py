"""Concurrency and rate limits in the admin: permissions, validation, and that a change applies at once."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.contrib.admin.models import LogEntry

from taskqueue import Limit, Rate, RetryAfter, pipeline, step
from taskqueue.engine.runtime.claim_request import ClaimRequest
from taskqueue.engine.worker.claims import claim
from taskqueue.models import ConcurrencyLimit, RateLimit, RateLimitBucket, Task
from taskqueue.testing import InProcessWorker, work
from tests.support.admin_pages import messages_of, text_of
from tests.support.users import client_of

CONCURRENCY_LIMITS = "/admin/taskqueue/concurrencylimit/"
LIMIT = f"{CONCURRENCY_LIMITS}adm_2Flimited/change/"
UNKEYED = f"{CONCURRENCY_LIMITS}adm_2Frated/change/"
RATES = "/admin/taskqueue/ratelimit/"
RATE = f"{RATES}adm-api/change/"
USAGE = "/admin/taskqueue/ratelimitbucket/"
NO_LIMITS = {"tasks": "", "tasks_per_key": "", "steps": "", "steps_per_key": ""}
NO_NUMBERS = {"count": "", "per": "", "burst": ""}


@step(rate=Rate(1, per=timedelta(hours=1), name="adm-api"))
def call(number: int) -> int:
    if number == 429:
        raise RetryAfter(timedelta(hours=2), "too many requests")
    return number


@pipeline("adm/rated")
def rated(number: int) -> int:
    return call(number)


@pipeline("adm/limited", concurrency=[Limit(2), Limit(1, key="{tenant}")])
def limited(tenant: str) -> str:
    return tenant


@pytest.fixture(autouse=True)
def _registered():
    rated.enqueue(1)
    limited.enqueue("a")
    work()


@pytest.fixture
def changer():
    return client_of("chris", "view_concurrencylimit", "change_concurrencylimit", "view_ratelimit", "change_ratelimit")


@pytest.fixture
def reader():
    return client_of("lou", "view_concurrencylimit", "view_ratelimit")


@pytest.mark.parametrize("address", [CONCURRENCY_LIMITS, LIMIT, RATES, RATE, USAGE])
def test_viewing_needs_its_permission(address, client, stranger, reader):
    assert client.get(address).url.startswith("/admin/login/")
    assert stranger.get(address).status_code == 403
    assert reader.get(address).status_code == 200


@pytest.mark.parametrize(("address", "values"), [(LIMIT, {"tasks": "5"}), (RATE, {"count": "5"})])
def test_changing_needs_its_permission(address, values, reader):
    assert reader.post(address, values).status_code == 403
    assert ConcurrencyLimit.objects.get(pk="adm/limited").tasks is None
    assert RateLimit.objects.get(pk="adm-api").count is None


@pytest.mark.parametrize(
    "address", [f"{CONCURRENCY_LIMITS}add/", f"{RATES}add/", f"{USAGE}add/", f"{RATES}adm-api/delete/"]
)
def test_adding_and_deleting_are_refused(address, admin):
    assert admin.get(address).status_code == 403


def test_a_concurrency_limit_shows_code_limits_and_taken_slots(reader):
    with InProcessWorker() as worker:
        limited.enqueue("acme")
        claim(ClaimRequest(worker.worker))

        text = text_of(reader.get(LIMIT))

    assert "1 task, 0 steps; most by acme 1" in text
    assert "{tenant}" in text
    assert "2, 1 per key unlimited {tenant}" in text_of(reader.get(CONCURRENCY_LIMITS))


def test_a_changed_limit_is_logged_and_applies_to_the_next_claim(changer):
    for tenant in "abcd":
        limited.enqueue(tenant)

    response = changer.post(LIMIT, {**NO_LIMITS, "tasks": "3"}, follow=True)

    assert "was changed successfully" in messages_of(response)[0]
    entry = LogEntry.objects.get()
    assert (entry.object_id, entry.user.username, entry.get_change_message()) == (
        "adm/limited", "chris", "Changed Tasks.",
    )  # fmt: skip
    with InProcessWorker() as worker:
        assert sum(1 for _ in iter(lambda: claim(ClaimRequest(worker.worker)), [])) == 3
    changer.post(LIMIT, NO_LIMITS)
    assert ConcurrencyLimit.objects.get(pk="adm/limited").tasks is None


@pytest.mark.parametrize("number", ["0", "-1", "100001", "many"])
@pytest.mark.parametrize("field", ["tasks", "steps_per_key"])
def test_an_invalid_limit_is_refused_at_its_field(field, number, changer):
    response = changer.post(LIMIT, {**NO_LIMITS, field: number})

    assert response.status_code == 200
    assert field in response.context["adminform"].form.errors
    assert getattr(ConcurrencyLimit.objects.get(pk="adm/limited"), field) is None


def test_a_limit_per_key_needs_a_key(changer):
    response = changer.post(UNKEYED, {**NO_LIMITS, "tasks_per_key": "1"})

    assert "has no key" in text_of(response)


def test_a_changed_rate_limit_applies_to_waiting_tasks_at_once(changer):
    tasks = [rated.enqueue(number) for number in range(3)]
    work()
    assert Task.objects.filter(status="waiting", blocked_on="adm-api").count() == 3

    changer.post(RATE, {"count": "1000", "per": "00:00:01", "burst": "10"})

    rate = RateLimit.objects.get(pk="adm-api")
    assert (rate.count, rate.per, rate.burst) == (1000, timedelta(seconds=1), 10)
    work()
    assert {Task.objects.get(pk=task.pk).status for task in tasks} == {"succeeded"}
    assert LogEntry.objects.get().object_id == "adm-api"
    assert "1,000 per 1s, 10 at once 1 per 1h 1,000 of 1,000 per 1s Usage" in text_of(changer.get(RATES))


@pytest.mark.parametrize(
    ("field", "value"), [("count", "0"), ("count", "-1"), ("per", "0"), ("per", "-00:00:01"), ("burst", "0")]
)
def test_an_invalid_rate_limit_is_refused_at_its_field(field, value, changer):
    response = changer.post(RATE, {**NO_NUMBERS, field: value})

    assert response.status_code == 200
    assert field in response.context["adminform"].form.errors
    assert RateLimit.objects.get(pk="adm-api").changed_at is None


def test_a_period_too_short_for_its_count_is_refused(changer):
    response = changer.post(RATE, {**NO_NUMBERS, "count": "1000", "per": "00:00:00.000100"})

    assert response.status_code == 200
    assert response.context["adminform"].form.errors


def test_usage_is_shown_and_a_block_can_be_ended(changer, reader):
    RateLimitBucket.objects.all().delete()
    rated.enqueue(429)
    work()
    waiting = rated.enqueue(2)
    work()
    text = text_of(reader.get(USAGE))
    assert "adm-api - 0 of 1 per 1h, next in 2h 1 just now in 2h in 1h call: too many requests" in text.replace(
        "\N{EN DASH}", "-"
    )
    bucket = RateLimitBucket.objects.get()
    form = {"action": "unblock_selected", "_selected_action": [str(bucket.pk)]}
    reader.post(USAGE, form)
    assert RateLimitBucket.objects.get().blocked_until is not None

    response = changer.post(USAGE, form, follow=True)

    assert messages_of(response) == ["1 rate limit unblocked."]
    assert RateLimitBucket.objects.get().blocked_until is None
    assert Task.objects.get(pk=waiting.pk).status == "queued"
    assert LogEntry.objects.get().get_change_message() == "Unblocked."
    assert messages_of(changer.post(USAGE, form, follow=True)) == ["None of them is blocked."]


@pytest.mark.parametrize(("address", "number"), [(CONCURRENCY_LIMITS, 4), (RATES, 5), (USAGE, 4)])
def test_the_lists_need_a_fixed_number_of_queries(address, number, admin, django_assert_num_queries):
    with django_assert_num_queries(number):  # session, user, count, rows; buckets of rate limits
        admin.get(address)


def test_a_concurrency_limit_is_found_by_the_beginning_of_its_name(admin):
    found = text_of(admin.get("/admin/taskqueue/concurrencylimit/?q=demo/t"))

    assert "demo/task" in found
    assert "demo/publish" not in found


@step(rate=Rate(5, per=timedelta(minutes=1), name="adm-keyed", key="{tenant}"))
def call_for(tenant: str) -> str:
    return tenant


@pipeline("adm/keyed")
def keyed(tenant: str) -> str:
    return call_for(tenant)


def test_a_rate_limit_is_blocked_and_unblocked_with_log_entries(changer):
    RateLimitBucket.objects.all().delete()

    response = changer.post(
        f"{RATES}adm-api/block/", {"block-delay": "2h", "block-reason": "they <b>migrate</b>"}, follow=True
    )

    assert messages_of(response) == ["The rate limit is blocked. Calls wait until you unblock it."]
    assert "<b>migrate</b>" not in response.content.decode()
    assert "0 of 1 per 1h, next in 1h" in text_of(changer.get(RATES)).replace("1 of 1", "0 of 1")
    task = rated.enqueue(1)
    work()
    assert Task.objects.get(pk=task.pk).status == "waiting"

    unblocked = changer.post(f"{RATES}adm-api/unblock/", {"key": ""}, follow=True)
    assert messages_of(unblocked) == ["The rate limit is unblocked."]
    work()
    assert Task.objects.get(pk=task.pk).status == "succeeded"
    assert messages_of(changer.post(f"{RATES}adm-api/unblock/", {"key": ""}, follow=True)) == [
        "The rate limit is not blocked."
    ]
    messages = [entry.get_change_message() for entry in LogEntry.objects.order_by("pk")]
    assert messages == ["Blocked for 2h: they <b>migrate</b>", "Unblocked."]


def test_blocking_one_key_leaves_the_others(changer):
    keyed.enqueue("a")
    work()
    address = f"{RATES}adm-keyed/block/"
    assert "a value of it" in text_of(
        changer.post(address, {"block-delay": "5m", "block-reason": "x", "block-key": ""})
    )

    changer.post(address, {"block-delay": "5m", "block-reason": "x", "block-key": "b"})
    blocked, free = keyed.enqueue("b"), keyed.enqueue("c")
    work()

    assert (Task.objects.get(pk=blocked.pk).status, Task.objects.get(pk=free.pk).status) == ("waiting", "succeeded")
    text = text_of(changer.get(f"{RATES}adm-keyed/change/"))
    assert "b 0 of 5 per 1m, next in" in text
    assert "a 4 of 5 per 1m" in text


@pytest.mark.parametrize(
    ("values", "error"),
    [
        ({"block-delay": "soon"}, "Write seconds, or a length such as 15m or 2h 30m"),
        ({"block-delay": "0"}, "A block lasts up to 3,650 days."),
        ({"block-delay": "9999999999"}, "up to 3,650 days."),
        ({"block-reason": " "}, "This field is required."),
    ],
)
def test_an_invalid_block_is_refused_at_its_field(changer, values, error):
    RateLimitBucket.objects.all().delete()

    response = changer.post(f"{RATES}adm-api/block/", {"block-delay": "5m", "block-reason": "x", **values})

    assert error in text_of(response)
    assert not RateLimitBucket.objects.exists()


def test_blocking_needs_change_ratelimit(reader, changer):
    assert reader.post(f"{RATES}adm-api/block/", {"block-delay": "5m", "block-reason": "x"}).status_code == 403
    assert reader.post(f"{RATES}adm-api/unblock/").status_code == 403
    assert "Block this rate limit" not in text_of(reader.get(RATE))
    assert messages_of(changer.post(f"{RATES}none/block/", follow=True)) == ["There is no rate limit none."]


def test_empty_lists_explain_themselves(reader):
    RateLimit.objects.all().delete()
    ConcurrencyLimit.objects.all().delete()

    assert "There are no rate limits." in text_of(reader.get(RATES))
    assert "No rate limit has been used yet." in text_of(reader.get(USAGE))
    assert "There are no pipelines yet." in text_of(reader.get(CONCURRENCY_LIMITS))
