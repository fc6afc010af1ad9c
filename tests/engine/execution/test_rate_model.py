"""The statement that reserves times, compared with a model of the rate limit."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db.models import F
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from taskqueue import policies
from taskqueue.engine import sql
from taskqueue.models import RateLimit, RateLimitBucket
from taskqueue.testing import InProcessWorker
from tests.support.leases import take
from tests.support.pipelines.basic import one_step
from tests.support.properties import examples

pytestmark = pytest.mark.property

MICROSECOND = timedelta(microseconds=1)

rates = st.builds(
    policies.Rate,
    st.integers(1, 50),
    per=st.timedeltas(min_value=timedelta(milliseconds=50), max_value=timedelta(hours=1)),
    burst=st.integers(1, 6),
)
pauses = st.lists(st.timedeltas(min_value=timedelta(0), max_value=timedelta(minutes=5)), min_size=1, max_size=12)


@pytest.fixture
def lease(db):
    with InProcessWorker() as worker:
        one_step.enqueue(1)
        yield take(worker.worker)


def seconds(length):
    """In whole microseconds, as seconds."""
    return (length // MICROSECOND) / 1_000_000


@settings(max_examples=examples(60), deadline=None, suppress_health_check=list(HealthCheck))
@given(rate=rates, pauses=pauses)
def test_a_reserved_time_matches_the_rate_limit_model(lease, rate, pauses):
    RateLimit.objects.all().delete()
    RateLimit.objects.create(name="m", declared_count=rate.count, declared_per=rate.per, declared_burst=rate.burst)
    values = {"rate": "m", "use": "", "key": "k", "name": "k", "input": "{}", "input_hash": "", "brief": timedelta(0)}
    passed, began, tat, given_times = timedelta(0), None, None, []
    for pause in pauses:
        passed += pause
        RateLimitBucket.objects.update(
            **{field: F(field) - pause for field in ("theoretical_arrival_at", "passes_at", "last_admitted_at")}
        )

        ((allowed_at, now, _changed, _known),) = sql.fetch(sql.RESERVE_STEP, {**values, **lease.fence})

        began = began or now
        came = seconds(now - began + passed)
        allowed = max(came, seconds(allowed_at - began + passed))
        expected = rate.next_free(tat, came).allowed_at
        assert allowed == pytest.approx(expected, abs=2e-6)
        tat = rate.next_free(tat, expected).tat
        given_times.append(allowed)
    # In every window of one period there are at most as many calls as the rate allows.
    for first in given_times:
        inside = [time for time in given_times if first <= time < first + seconds(rate.per) - 1e-5]
        assert len(inside) <= rate.count + rate.burst - 1
