"""How many calls a rate limit still allows in its present period."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.utils.html import format_html
from django.utils.safestring import SafeString

from taskqueue.admin.shared import formats, html
from taskqueue.models import RateLimit, RateLimitBucket

NO_TIME, SOON = timedelta(0), timedelta(seconds=1)


@dataclass(frozen=True, kw_only=True)
class Remaining:
    """What is left for one value of a rate limit's key.

    Attributes:
        count: calls allowed per period.
        left: calls that are not reserved yet.
        next_at: when a call that is made now is allowed.
        blocked_until: no call is allowed before; None when the rate limit is not blocked.
    """

    count: int
    per: timedelta
    left: int
    next_at: datetime
    now: datetime
    blocked_until: datetime | None = None
    block_reason: str = ""

    @property
    def meter(self) -> SafeString:
        is_late = self.next_at - self.now >= SOON
        per = f"per {formats.compact_duration(self.per.total_seconds())}"
        soon = format_html(", next {}", html.moment(self.next_at, self.now)) if is_late else ""
        left = f"{self.left:,} of {self.count:,}"
        is_full = bool(self.blocked_until) or not self.left
        meter = html.meter(self.left, self.count, label="Calls left", text=left, is_full=is_full)
        return html.with_note(meter, format_html("{}{}", per, soon))


def remaining_of(rate: RateLimit, bucket: RateLimitBucket | None, now: datetime) -> Remaining:
    """What is left of a rate limit; without a bucket, all of it."""
    limit = rate.effective
    if bucket is None:
        return Remaining(count=limit.count, per=limit.per, left=limit.count, next_at=now, now=now)
    reserved = -(-max(bucket.theoretical_arrival_at - now, NO_TIME) // limit.interval)
    blocked_until = bucket.blocked_until if bucket.blocked_until and bucket.blocked_until > now else None
    return Remaining(
        count=limit.count,
        per=limit.per,
        left=max(0, limit.count - reserved),
        next_at=next_admission(rate, bucket, now),
        now=now,
        blocked_until=blocked_until,
        block_reason=bucket.block_reason if blocked_until else "",
    )


def next_admission(rate: RateLimit, bucket: RateLimitBucket, now: datetime) -> datetime:
    """When a call that is made now is allowed."""
    tolerance = rate.effective.tolerance
    times = [bucket.theoretical_arrival_at - tolerance, bucket.blocked_until]
    if bucket.passes_at is not None:
        times.append(bucket.passes_at - tolerance)
    return max(now, *filter(None, times))
