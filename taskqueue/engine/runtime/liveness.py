"""When a worker counts as alive: it holds its advisory lock, and its heartbeat is recent."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

LOCK_SPACE: Final = 0x7461736B
"""The first key of each worker's advisory lock ("task" in ASCII); other users of such locks use other keys."""
HEARTBEAT_TIMEOUT: Final = timedelta(seconds=30)
"""A worker without a heartbeat for this long is dead although it holds its lock: its process was stopped or is stuck.

A lost machine is noticed sooner: the server drops its connections, and with them the lock, when it no longer answers
(`heartbeat_thread.private_connection`).
"""
STARTUP_GRACE: Final = timedelta(seconds=5)
"""After a start of the database, how long workers have to take their locks again."""
