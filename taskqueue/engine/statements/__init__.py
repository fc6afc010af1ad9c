"""The raw statements of the hot path, each one a single round trip and a single commit.

They bypass the ORM because a third of an ORM update is the database and the rest is Python. `tests/engine` holds each
against its model. Times come from `statement_timestamp()`: the database's clock, stable within a statement (so that an
index can use it), yet moving inside a test's transaction, where `now()` would stand still.

    enqueueing   tasks are made
    gates        what holds a pipeline's starts back, and what it lets through
    claiming     the next tasks, and whether there are any
    recording    what a task has done
    drifting     what its steps were called with
    tending      what doorbells and hearts do
    running      how a statement is run
"""

from taskqueue.engine.statements.claiming import CLAIM, NEXT, and_claim
from taskqueue.engine.statements.drifting import LOAD_INPUTS
from taskqueue.engine.statements.enqueueing import ENQUEUE
from taskqueue.engine.statements.gates import ADMIT, LOCK_GATE, WALK_ON
from taskqueue.engine.statements.pausing import CLOSE_OVERDUE, HOLD, RECORD_PAUSE, SET_WAITING, WAKE
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
    "ADMIT",
    "BEAT",
    "CHECKPOINT",
    "CLAIM",
    "CLOSE_OVERDUE",
    "ENQUEUE",
    "FAIL_BODY",
    "FINISH",
    "HELD",
    "HOLD",
    "LOAD_INPUTS",
    "LOAD_JOURNAL",
    "LOCK_GATE",
    "LOOK",
    "NEXT",
    "PROMOTE",
    "PROMOTED_AT_ONCE",
    "PUT_BACK",
    "RECORD_FAILED_STEP",
    "RECORD_PAUSE",
    "RECOVER",
    "REPORT_PROGRESS",
    "RING",
    "SET_WAITING",
    "TRY_AGAIN",
    "WAKE",
    "WALK_ON",
    "alone",
    "and_claim",
    "fetch",
]
