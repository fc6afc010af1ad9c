"""When a worker counts as alive."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

LOCK_SPACE: Final = 0x7461736B
"""The first half of each worker's advisory lock ("task" in ASCII), apart from other users of such locks."""
SILENCE: Final = timedelta(seconds=30)
"""A worker that has not beaten for so long is dead although its lock is held: its process was stopped, or is stuck.

A machine that is gone does not take so long: the server drops its connections, and the lock with them, when it no
longer answers (`heartbeat.private_connection`).
"""
SETTLING: Final = timedelta(seconds=5)
"""After a start of the database, how long workers have to take their locks again."""
