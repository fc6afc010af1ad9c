"""Identifiers that sort by the time at which they were made (UUID version 7, RFC 9562 section 5.7)."""

from __future__ import annotations

import os
import time
from uuid import UUID


def uuid7() -> UUID:
    """Make a new id: 48 bits of milliseconds, 12 bits of the fraction below them, 62 random bits.

    The fraction (RFC 9562, section 6.2, method 3) keeps ids made within one millisecond in order. The random bits come
    from the kernel, so that two processes forked from one parent never share them.
    """
    milliseconds, rest = divmod(time.time_ns(), 1_000_000)
    fraction = (rest << 12) // 1_000_000
    random_bits = int.from_bytes(os.urandom(8)) & 0x3FFF_FFFF_FFFF_FFFF
    return UUID(int=milliseconds << 80 | 0x7 << 76 | fraction << 64 | 0b10 << 62 | random_bits)
