"""Ids that sort by creation time (UUID version 7, RFC 9562 section 5.7)."""

from __future__ import annotations

import os
import time
from datetime import datetime, timedelta
from uuid import UUID

CLOCK_SLACK = timedelta(minutes=5)
"""The largest clock difference between machines that create ids."""


def uuid_at(moment: datetime) -> UUID:
    """The smallest id of this moment, by the clock of the machine that creates it."""
    return UUID(int=max(int(moment.timestamp() * 1000), 0) << 80)


def earliest_at(moment: datetime) -> UUID:
    """The smallest id that can have been created at this moment, for range queries by id."""
    return uuid_at(moment - CLOCK_SLACK)


def latest_at(moment: datetime) -> UUID:
    """The first id that was certainly created after this moment."""
    return earliest_at(moment + 2 * CLOCK_SLACK)


def uuid7() -> UUID:
    """A new id: 48 bits of milliseconds, 12 bits of their fraction, 62 random bits.

    The fraction (RFC 9562, section 6.2, method 3) orders ids of one millisecond. The random bits come from the kernel,
    so that forked processes do not share them.
    """
    milliseconds, rest = divmod(time.time_ns(), 1_000_000)
    fraction = (rest << 12) // 1_000_000
    random_bits = int.from_bytes(os.urandom(8)) & 0x3FFF_FFFF_FFFF_FFFF
    return UUID(int=milliseconds << 80 | 0x7 << 76 | fraction << 64 | 0b10 << 62 | random_bits)
