"""What is left of a rate: how many more it lets through in its next period."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.utils.html import format_html
from django.utils.safestring import SafeString

from taskqueue.admin.shared import formats, html
from taskqueue.models import RateLimit, RateLimitBucket

NO_TIME, SOON = timedelta(0), timedelta(seconds=1)


@dataclass(frozen=True, kw_only=True)
class Budget:
    """What is left for one value of a rate's key.

    Attributes:
        count: how many it lets through in a period.
        left: how many of them are not booked yet.
        next_at: when one that comes now might pass.
        blocked_until: nobody passes before; None when it is not held.
    """

    count: int
    per: timedelta
    left: int
    next_at: datetime
    now: datetime
    blocked_until: datetime | None = None
    block_reason: str = ""

    @property
    def shown(self) -> SafeString:
        """A meter with its numbers, and when the next one passes if none does now."""
        late = self.next_at - self.now >= SOON
        return format_html(
            '<span class="tq-meter{}"><progress max="{}" value="{}" aria-label="Budget left"></progress> {}</span>'
            '<span class="tq-under">{}{}</span>',
            " tq-is-full" if self.blocked_until or not self.left else "",
            self.count,
            self.left,
            f"{self.left:,} of {self.count:,}",
            f"per {formats.wait_length(self.per.total_seconds())}",
            format_html(", next {}", html.moment(self.next_at, self.now)) if late else "",
        )


def budget_of(rate: RateLimit, use: RateLimitBucket | None, now: datetime) -> Budget:
    """What is left of a rate; without a record of its use all of it is."""
    numbers = rate.effective
    if use is None:
        return Budget(count=numbers.count, per=numbers.per, left=numbers.count, next_at=now, now=now)
    booked = -(-max(use.theoretical_arrival_at - now, NO_TIME) // rate.interval)
    times = [now, use.theoretical_arrival_at - rate.tolerance]
    if use.passes_at is not None:
        times.append(use.passes_at - rate.tolerance)
    is_held = use.blocked_until is not None and use.blocked_until > now
    if is_held:
        times.append(use.blocked_until)  # type: ignore[arg-type]  # it is held
    return Budget(
        count=numbers.count,
        per=numbers.per,
        left=max(0, numbers.count - booked),
        next_at=max(times),
        now=now,
        blocked_until=use.blocked_until if is_held else None,
        block_reason=use.block_reason if is_held else "",
    )
