"""Test pipelines without a worker process, on the same engine.

    run = run_inline(fulfil, order, events=[("order/paid", {"id": 42})])
    assert run.result == "shipped"

The names are imported at their first use: pytest loads the plugin in this package before Django is set up.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from taskqueue.testing.answers import answer
    from taskqueue.testing.crashes import CrashReport, NotCrashSafe, assert_crash_safe
    from taskqueue.testing.enqueued import assert_enqueued, assert_not_enqueued
    from taskqueue.testing.fakes import Fake, fake
    from taskqueue.testing.inline import run_inline
    from taskqueue.testing.runs import Run, RunError, RunFailed
    from taskqueue.testing.time_travel import advance
    from taskqueue.testing.workers import InProcessWorker, work

__all__ = [
    "CrashReport",
    "Fake",
    "InProcessWorker",
    "NotCrashSafe",
    "Run",
    "RunError",
    "RunFailed",
    "advance",
    "answer",
    "assert_crash_safe",
    "assert_enqueued",
    "assert_not_enqueued",
    "fake",
    "run_inline",
    "work",
]

MODULES = {
    "answers": ("answer",),
    "time_travel": ("advance",),
    "crashes": ("CrashReport", "NotCrashSafe", "assert_crash_safe"),
    "enqueued": ("assert_enqueued", "assert_not_enqueued"),
    "fakes": ("Fake", "fake"),
    "inline": ("run_inline",),
    "runs": ("Run", "RunError", "RunFailed"),
    "workers": ("InProcessWorker", "work"),
}


def __getattr__(name: str) -> Any:
    for module, names in MODULES.items():
        if name in names:
            return getattr(import_module(f"taskqueue.testing.{module}"), name)
    raise AttributeError(f"module 'taskqueue.testing' has no attribute {name!r}")
