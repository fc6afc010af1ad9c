"""The raw statements of the hot path, each one a single round trip and a single commit.

They bypass the ORM because a third of an ORM update is the database and the rest is Python. `tests/engine` holds each
against its model. Times come from `statement_timestamp()`: the database's clock, stable within a statement (so that an
index can use it), yet moving inside a test's transaction, where `now()` would stand still.

    enqueueing   tasks are made
    starting     or another one stands in, or the clock makes them
    events       what is sent, waited for and routed
    gates        what holds a pipeline's starts back, and what it lets through
    claiming     the next tasks, and whether there are any
    recording    what a task has done
    tending      what doorbells and hearts do
    running      how a statement is run
"""

from taskqueue.engine.statements.claiming import CLAIM, NEXT, and_claim
from taskqueue.engine.statements.enqueueing import ENQUEUE
from taskqueue.engine.statements.events import (
    CANCELLED_BY,
    CLOSE_WAITS,
    EMIT,
    FREE_ID,
    LOCK_EVENT,
    LOCK_EVENT_NAME,
    LOCK_LISTENERS,
    LOOK_BACK,
    LOOK_BACK_FOR,
    OPEN_FIELDS,
    REGISTER_WAIT,
    RESOLVE,
    RESOLVE_ALL,
    ROUTED,
    SEND,
    UNROUTED,
)
from taskqueue.engine.statements.gates import ADMIT, LOCK_GATE, WALK_ON
from taskqueue.engine.statements.pausing import CLOSE_OVERDUE, HOLD, RECORD_PAUSE, SET_WAITING, WAKE, WAKE_ALL
from taskqueue.engine.statements.recording import (
    CHECKPOINT,
    FAIL_BODY,
    FINISH,
    HELD,
    LOAD_JOURNAL,
    PUT_BACK,
    RECORD_FAILED_STEP,
    TRY_AGAIN,
    alone,
)
from taskqueue.engine.statements.running import fetch
from taskqueue.engine.statements.starting import ADD_TO_BATCH, DEBOUNCE, NEXT_SCHEDULE, PROMISE, REPLACE
from taskqueue.engine.statements.tending import (
    BEAT,
    LOOK,
    PROMOTE,
    PROMOTED_AT_ONCE,
    RECOVER,
    REPORT_PROGRESS,
    RING,
)

__all__ = [
    "ADD_TO_BATCH",
    "ADMIT",
    "BEAT",
    "CANCELLED_BY",
    "CHECKPOINT",
    "CLAIM",
    "CLOSE_OVERDUE",
    "CLOSE_WAITS",
    "DEBOUNCE",
    "EMIT",
    "ENQUEUE",
    "FAIL_BODY",
    "FINISH",
    "FREE_ID",
    "HELD",
    "HOLD",
    "LOAD_JOURNAL",
    "LOCK_EVENT",
    "LOCK_EVENT_NAME",
    "LOCK_GATE",
    "LOCK_LISTENERS",
    "LOOK",
    "LOOK_BACK",
    "LOOK_BACK_FOR",
    "NEXT",
    "NEXT_SCHEDULE",
    "OPEN_FIELDS",
    "PROMISE",
    "PROMOTE",
    "PROMOTED_AT_ONCE",
    "PUT_BACK",
    "RECORD_FAILED_STEP",
    "RECORD_PAUSE",
    "RECOVER",
    "REGISTER_WAIT",
    "REPLACE",
    "REPORT_PROGRESS",
    "RESOLVE",
    "RESOLVE_ALL",
    "RING",
    "ROUTED",
    "SEND",
    "SET_WAITING",
    "TRY_AGAIN",
    "UNROUTED",
    "WAKE",
    "WAKE_ALL",
    "WALK_ON",
    "alone",
    "and_claim",
    "fetch",
]
