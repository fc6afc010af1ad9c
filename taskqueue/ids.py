"""Identifiers that sort by the time at which they were made (UUID version 7, RFC 9562 section 5.7)."""

from __future__ import annotations

import os
import time
from datetime import datetime, timedelta
from uuid import UUID

CLOCK_SLACK = timedelta(minutes=5)
"""By how much the clocks of machines that make ids are trusted to agree."""


def uuid_at(moment: datetime) -> UUID:
    """The smallest id of this moment, by the clock of whoever makes ids."""
    return UUID(int=max(int(moment.timestamp() * 1000), 0) << 80)


def earliest_at(moment: datetime) -> UUID:
    """The smallest id that may have been made at this moment; a range of ids is read from their index."""
    return uuid_at(moment - CLOCK_SLACK)


def latest_at(moment: datetime) -> UUID:
    """The first id that was certainly made after this moment."""
    return earliest_at(moment + 2 * CLOCK_SLACK)


def uuid7() -> UUID:
    """Make a new id: 48 bits of milliseconds, 12 bits of the fraction below them, 62 random bits.

    The fraction (RFC 9562, section 6.2, method 3) keeps ids made within one millisecond in order. The random bits come
    from the kernel, so that two processes forked from one parent never share them.
    """
    milliseconds, rest = divmod(time.time_ns(), 1_000_000)
    fraction = (rest << 12) // 1_000_000
    random_bits = int.from_bytes(os.urandom(8)) & 0x3FFF_FFFF_FFFF_FFFF
    return UUID(int=milliseconds << 80 | 0x7 << 76 | fraction << 64 | 0b10 << 62 | random_bits)
