"""Limits and rates in the admin: who may change them, what is refused, and that a change holds at once."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.contrib.admin.models import LogEntry

from taskqueue import Limit, Rate, RetryAfter, pipeline, step
from taskqueue.engine.worker.claims import ClaimRequest, claim
from taskqueue.models import ConcurrencyLimit, RateLimit, RateLimitBucket, Task
from taskqueue.testing import InProcessWorker, work
from tests.support.admin_pages import messages_of, text_of
from tests.support.users import client_of

CONCURRENCY_LIMITS = "/admin/taskqueue/concurrencylimit/"
GATE = f"{CONCURRENCY_LIMITS}adm_2Flimited/change/"
PLAIN = f"{CONCURRENCY_LIMITS}adm_2Frated/change/"
RATES = "/admin/taskqueue/ratelimit/"
RATE = f"{RATES}adm-api/change/"
USES = "/admin/taskqueue/ratelimitbucket/"
NO_LIMITS = {"tasks": "", "tasks_per_key": "", "steps": "", "steps_per_key": ""}
NO_NUMBERS = {"count": "", "per": "", "burst": ""}


@step(rate=Rate(1, per=timedelta(hours=1), name="adm-api"))
def asks(number: int) -> int:
    if number == 429:
        raise RetryAfter(timedelta(hours=2), "too many requests")
    return number


@pipeline("adm/rated")
def rated(number: int) -> int:
    return asks(number)


@pipeline("adm/limited", concurrency=[Limit(2), Limit(1, key="{tenant}")])
def limited(tenant: str) -> str:
    return tenant


@pytest.fixture(autouse=True)
def _known():
    rated.enqueue(1)
    limited.enqueue("a")
    work()


@pytest.fixture
def changer():
    return client_of("chris", "view_concurrencylimit", "change_concurrencylimit", "view_ratelimit", "change_ratelimit")


@pytest.fixture
def looker():
    return client_of("lou", "view_concurrencylimit", "view_ratelimit")


@pytest.mark.parametrize("address", [CONCURRENCY_LIMITS, GATE, RATES, RATE, USES])
def test_viewing_needs_the_right_to(address, client, stranger, looker):
    assert client.get(address).url.startswith("/admin/login/")
    assert stranger.get(address).status_code == 403
    assert looker.get(address).status_code == 200


@pytest.mark.parametrize(("address", "values"), [(GATE, {"tasks": "5"}), (RATE, {"count": "5"})])
def test_changing_needs_the_right_to(address, values, looker):
    assert looker.post(address, values).status_code == 403
    assert ConcurrencyLimit.objects.get(pk="adm/limited").tasks is None
    assert RateLimit.objects.get(pk="adm-api").count is None


@pytest.mark.parametrize(
    "address", [f"{CONCURRENCY_LIMITS}add/", f"{RATES}add/", f"{USES}add/", f"{RATES}adm-api/delete/"]
)
def test_nothing_is_added_or_deleted_by_hand(address, admin):
    assert admin.get(address).status_code == 403


def test_a_gate_shows_what_the_code_says_and_what_is_held(looker):
    with InProcessWorker() as worker:
        limited.enqueue("acme")
        claim(ClaimRequest(worker.worker))

        text = text_of(looker.get(GATE))

    assert "1 task, 0 steps; most by acme 1" in text
    assert "{tenant}" in text
    assert "2, 1 for each key no limit {tenant}" in text_of(looker.get(CONCURRENCY_LIMITS))


def test_a_changed_limit_is_written_down_and_holds_for_the_next_claim(changer):
    for tenant in "abcd":
        limited.enqueue(tenant)

    response = changer.post(GATE, {**NO_LIMITS, "tasks": "3"}, follow=True)

    assert "was changed successfully" in messages_of(response)[0]
    entry = LogEntry.objects.get()
    assert (entry.object_id, entry.user.username, entry.get_change_message()) == (
        "adm/limited", "chris", "Changed Tasks.",
    )  # fmt: skip
    with InProcessWorker() as worker:
        assert sum(1 for _ in iter(lambda: claim(ClaimRequest(worker.worker)), [])) == 3
    changer.post(GATE, NO_LIMITS)
    assert ConcurrencyLimit.objects.get(pk="adm/limited").tasks is None


@pytest.mark.parametrize("number", ["0", "-1", "100001", "many"])
@pytest.mark.parametrize("field", ["tasks", "steps_per_key"])
def test_a_limit_that_makes_no_sense_is_refused_beside_its_field(field, number, changer):
    response = changer.post(GATE, {**NO_LIMITS, field: number})

    assert response.status_code == 200
    assert field in response.context["adminform"].form.errors
    assert getattr(ConcurrencyLimit.objects.get(pk="adm/limited"), field) is None


def test_a_limit_for_each_key_of_a_pipeline_without_one_is_refused(changer):
    response = changer.post(PLAIN, {**NO_LIMITS, "tasks_per_key": "1"})

    assert "has no key" in text_of(response)


def test_a_changed_rate_frees_who_waits_at_once(changer):
    tasks = [rated.enqueue(number) for number in range(3)]
    work()
    assert Task.objects.filter(status="waiting", blocked_on="adm-api").count() == 3

    changer.post(RATE, {"count": "1000", "per": "00:00:01", "burst": "10"})

    rate = RateLimit.objects.get(pk="adm-api")
    assert (rate.count, rate.per, rate.burst) == (1000, timedelta(seconds=1), 10)
    work()
    assert {Task.objects.get(pk=task.pk).status for task in tasks} == {"succeeded"}
    assert LogEntry.objects.get().object_id == "adm-api"
    assert "1,000 per 1s, 10 at once 1 per 1h 1,000 of 1,000 per 1s See how much is used" in text_of(changer.get(RATES))


@pytest.mark.parametrize(
    ("field", "value"), [("count", "0"), ("count", "-1"), ("per", "0"), ("per", "-00:00:01"), ("burst", "0")]
)
def test_numbers_that_make_no_rate_are_refused_beside_their_field(field, value, changer):
    response = changer.post(RATE, {**NO_NUMBERS, field: value})

    assert response.status_code == 200
    assert field in response.context["adminform"].form.errors
    assert RateLimit.objects.get(pk="adm-api").changed_at is None


def test_a_period_too_short_for_its_count_is_refused(changer):
    response = changer.post(RATE, {**NO_NUMBERS, "count": "1000", "per": "00:00:00.000100"})

    assert response.status_code == 200
    assert response.context["adminform"].form.errors


def test_the_use_of_a_rate_is_shown_and_a_hold_can_be_released(changer, looker):
    RateLimitBucket.objects.all().delete()
    rated.enqueue(429)
    work()
    waiting = rated.enqueue(2)
    work()
    text = text_of(looker.get(USES))
    assert "adm-api - 0 of 1 per 1h, next in 2h 1 just now in 2h in 1h asks: too many requests" in text.replace(
        "\N{EN DASH}", "-"
    )
    use = RateLimitBucket.objects.get()
    form = {"action": "release_holds", "_selected_action": [str(use.pk)]}
    looker.post(USES, form)
    assert RateLimitBucket.objects.get().blocked_until is not None

    response = changer.post(USES, form, follow=True)

    assert messages_of(response) == ["1 hold released."]
    assert RateLimitBucket.objects.get().blocked_until is None
    assert Task.objects.get(pk=waiting.pk).status == "queued"
    assert LogEntry.objects.get().get_change_message() == "Released the hold."
    assert messages_of(changer.post(USES, form, follow=True)) == ["None of them is held."]


@pytest.mark.parametrize(("address", "number"), [(CONCURRENCY_LIMITS, 4), (RATES, 5), (USES, 4)])
def test_the_lists_need_a_fixed_number_of_queries(address, number, admin, django_assert_num_queries):
    with django_assert_num_queries(number):  # session, user, count, rows; of rates their use
        admin.get(address)


def test_a_gate_is_found_by_the_beginning_of_its_pipelines_name(admin):
    found = text_of(admin.get("/admin/taskqueue/concurrencylimit/?q=demo/t"))

    assert "demo/task" in found
    assert "demo/publish" not in found


@step(rate=Rate(5, per=timedelta(minutes=1), name="adm-keyed", key="{tenant}"))
def asks_for(tenant: str) -> str:
    return tenant


@pipeline("adm/keyed")
def keyed(tenant: str) -> str:
    return asks_for(tenant)


def test_a_rate_is_held_for_a_reason_and_lifted_on_the_record(changer):
    RateLimitBucket.objects.all().delete()

    response = changer.post(
        f"{RATES}adm-api/hold/", {"hold-delay": "2h", "hold-reason": "they <b>migrate</b>"}, follow=True
    )

    assert messages_of(response) == ["The rate is held. Steps and starts that need it wait."]
    assert "<b>migrate</b>" not in response.content.decode()
    assert "0 of 1 per 1h, next in 1h" in text_of(changer.get(RATES)).replace("1 of 1", "0 of 1")
    task = rated.enqueue(1)
    work()
    assert Task.objects.get(pk=task.pk).status == "waiting"

    lifted = changer.post(f"{RATES}adm-api/lift/", {"key": ""}, follow=True)
    assert messages_of(lifted) == ["The hold is lifted."]
    work()
    assert Task.objects.get(pk=task.pk).status == "succeeded"
    assert messages_of(changer.post(f"{RATES}adm-api/lift/", {"key": ""}, follow=True)) == ["It is not held."]
    said = [entry.get_change_message() for entry in LogEntry.objects.order_by("pk")]
    assert said == ["Held for 2h: they <b>migrate</b>", "Released the hold."]


def test_one_key_of_a_rate_is_held_and_another_one_passes(changer):
    keyed.enqueue("a")
    work()
    address = f"{RATES}adm-keyed/hold/"
    assert "say for which" in text_of(changer.post(address, {"hold-delay": "5m", "hold-reason": "x", "hold-key": ""}))

    changer.post(address, {"hold-delay": "5m", "hold-reason": "x", "hold-key": "b"})
    held, free = keyed.enqueue("b"), keyed.enqueue("c")
    work()

    assert (Task.objects.get(pk=held.pk).status, Task.objects.get(pk=free.pk).status) == ("waiting", "succeeded")
    text = text_of(changer.get(f"{RATES}adm-keyed/change/"))
    assert "b 0 of 5 per 1m, next in" in text
    assert "a 4 of 5 per 1m" in text


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"hold-delay": "soon"}, "Write seconds, or a length such as 15m or 2h 30m"),
        ({"hold-delay": "0"}, "A hold lasts from a moment to 3,650 days."),
        ({"hold-delay": "9999999999"}, "up to 3,650 days."),
        ({"hold-reason": " "}, "This field is required."),
    ],
)
def test_a_hold_that_makes_no_sense_is_refused_beside_its_field(changer, values, said):
    RateLimitBucket.objects.all().delete()

    response = changer.post(f"{RATES}adm-api/hold/", {"hold-delay": "5m", "hold-reason": "x", **values})

    assert said in text_of(response)
    assert not RateLimitBucket.objects.exists()


def test_only_who_may_change_rates_holds_them(looker, changer):
    assert looker.post(f"{RATES}adm-api/hold/", {"hold-delay": "5m", "hold-reason": "x"}).status_code == 403
    assert looker.post(f"{RATES}adm-api/lift/").status_code == 403
    assert "Hold the rate" not in text_of(looker.get(RATE))
    assert messages_of(changer.post(f"{RATES}none/hold/", follow=True)) == ["There is no rate none."]


def test_empty_lists_say_what_to_do(looker):
    RateLimit.objects.all().delete()
    ConcurrencyLimit.objects.all().delete()

    assert "No rate is declared." in text_of(looker.get(RATES))
    assert "No rate has been used yet." in text_of(looker.get(USES))
    assert "No pipeline is known yet." in text_of(looker.get(CONCURRENCY_LIMITS))
