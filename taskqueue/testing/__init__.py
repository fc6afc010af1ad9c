"""For tests of pipelines: no worker needed, the same engine underneath.

task = fulfil.enqueue(order)
work()
advance(hours=24)
work()
"""

from taskqueue.testing.clock import advance
from taskqueue.testing.workers import InProcessWorker, work

__all__ = ["InProcessWorker", "advance", "work"]
