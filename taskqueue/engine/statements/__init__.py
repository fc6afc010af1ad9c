"""The raw statements of the hot path, each one a single round trip and a single commit.

They bypass the ORM because a third of an ORM update is the database and the rest is Python. `tests/engine` holds each
against its model. Times come from `statement_timestamp()`: the database's clock, stable within a statement (so that an
index can use it), yet moving inside a test's transaction, where `now()` would stand still.

    enqueueing   tasks are made
    starting     or another one stands in, or the clock makes them
    families     tasks that others have made, and what is told of their end
    events       what is sent, waited for and routed
    gates        what holds a pipeline's starts back, and what it lets through
    claiming     the next tasks, and whether there are any
    explaining   why a task is not running
    samples      how pipelines and their steps do
    recording    what a task has done
    listing      what the list of tasks shows, and what is to be done to many
    drifting     what its steps were called with
    tending      what doorbells and hearts do
    pruning      what ended long ago is deleted
    running      how a statement is run
"""

from taskqueue.engine.statements.claiming import CLAIM, NEXT, and_claim
from taskqueue.engine.statements.drifting import LOAD_INPUTS
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
from taskqueue.engine.statements.explaining import BOOKED, COUNTED, HOLDERS, OBSTACLES, QUEUE
from taskqueue.engine.statements.families import (
    BE_CHILD,
    BRANCHES_AT_WORK,
    CANCEL_ALL,
    DISSOLVE,
    FORSAKEN,
    LOAD_PARENT,
    LOCK_FREE_PARENT,
    LOCK_FREE_UNTOLD,
    LOCK_OVERDUE,
    LOCK_PARENT,
    LOCK_UNTOLD,
    MAKE_BRANCHES,
    MOVE_ATTEMPTS,
    OVERDUE,
    REFUSE_CHILD,
    RELEASE,
    RESOLVE_PARENT,
    STOPPED,
    TOLD,
    UNTOLD,
)
from taskqueue.engine.statements.gates import ADMIT, LOCK_GATE, WALK_ON
from taskqueue.engine.statements.listing import BOUND_READS, ERROR_TYPES, MOMENT, NEXT_OPERATION, STATUS_COUNTS
from taskqueue.engine.statements.pausing import CLOSE_OVERDUE, HOLD, RECORD_PAUSE, SET_WAITING, WAKE, WAKE_ALL
from taskqueue.engine.statements.pruning import (
    ADD_PRUNINGS,
    COUNT_PRUNABLE,
    COUNT_PRUNED,
    DUE_FOR_PRUNING,
    GIVE_TURN,
    LOOKED_AT,
    OLDEST_UNFINISHED,
    PRUNE_EVENTS,
    PRUNE_KEYS,
    PRUNE_OPERATIONS,
    PRUNE_SKIPS,
    PRUNE_TASKS,
    PRUNE_WORKERS,
    PRUNED_AT_ONCE,
    REMEMBER_PRUNED,
    TAKE_TURN,
)
from taskqueue.engine.statements.rates import FORGET_TIMES, HOLD_BACK, HOLD_RATE, PASS, RESERVE, START, START_CHILD
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
    deaf,
)
from taskqueue.engine.statements.running import fetch
from taskqueue.engine.statements.samples import CODE_SEEN, COUNTED_MOST, LOADS, RECENT_TASKS, STEP_FIGURES
from taskqueue.engine.statements.slots import CROWDED, FREE_SLOT, GRANT_SLOTS, TAKE_SLOT
from taskqueue.engine.statements.starting import ADD_TO_BATCH, DEBOUNCE, NEXT_SCHEDULE, PROMISE
from taskqueue.engine.statements.tending import (
    BEAT,
    BOUND_LOCKS,
    LOOK,
    PATIENCE,
    PROMOTE,
    PROMOTED_AT_ONCE,
    RECOVER,
    REPORT_PROGRESS,
    RING,
    STILL_HELD,
)

__all__ = [
    "ADD_PRUNINGS",
    "ADD_TO_BATCH",
    "ADMIT",
    "BEAT",
    "BE_CHILD",
    "BOOKED",
    "BOUND_LOCKS",
    "BOUND_READS",
    "BRANCHES_AT_WORK",
    "CANCELLED_BY",
    "CANCEL_ALL",
    "CHECKPOINT",
    "CLAIM",
    "CLOSE_OVERDUE",
    "CLOSE_WAITS",
    "CODE_SEEN",
    "COUNTED",
    "COUNTED_MOST",
    "COUNT_PRUNABLE",
    "COUNT_PRUNED",
    "CROWDED",
    "DEBOUNCE",
    "DISSOLVE",
    "DUE_FOR_PRUNING",
    "EMIT",
    "ENQUEUE",
    "ERROR_TYPES",
    "FAIL_BODY",
    "FINISH",
    "FORGET_TIMES",
    "FORSAKEN",
    "FREE_ID",
    "FREE_SLOT",
    "GIVE_TURN",
    "GRANT_SLOTS",
    "HELD",
    "HOLD",
    "HOLDERS",
    "HOLD_BACK",
    "HOLD_RATE",
    "LOADS",
    "LOAD_INPUTS",
    "LOAD_JOURNAL",
    "LOAD_PARENT",
    "LOCK_EVENT",
    "LOCK_EVENT_NAME",
    "LOCK_FREE_PARENT",
    "LOCK_FREE_UNTOLD",
    "LOCK_GATE",
    "LOCK_LISTENERS",
    "LOCK_OVERDUE",
    "LOCK_PARENT",
    "LOCK_UNTOLD",
    "LOOK",
    "LOOKED_AT",
    "LOOK_BACK",
    "LOOK_BACK_FOR",
    "MAKE_BRANCHES",
    "MOMENT",
    "MOVE_ATTEMPTS",
    "NEXT",
    "NEXT_OPERATION",
    "NEXT_SCHEDULE",
    "OBSTACLES",
    "OLDEST_UNFINISHED",
    "OPEN_FIELDS",
    "OVERDUE",
    "PASS",
    "PATIENCE",
    "PROMISE",
    "PROMOTE",
    "PROMOTED_AT_ONCE",
    "PRUNED_AT_ONCE",
    "PRUNE_EVENTS",
    "PRUNE_KEYS",
    "PRUNE_OPERATIONS",
    "PRUNE_SKIPS",
    "PRUNE_TASKS",
    "PRUNE_WORKERS",
    "PUT_BACK",
    "QUEUE",
    "RECENT_TASKS",
    "RECORD_FAILED_STEP",
    "RECORD_PAUSE",
    "RECOVER",
    "REFUSE_CHILD",
    "REGISTER_WAIT",
    "RELEASE",
    "REMEMBER_PRUNED",
    "REPORT_PROGRESS",
    "RESERVE",
    "RESOLVE",
    "RESOLVE_ALL",
    "RESOLVE_PARENT",
    "RING",
    "ROUTED",
    "SEND",
    "SET_WAITING",
    "START",
    "START_CHILD",
    "STATUS_COUNTS",
    "STEP_FIGURES",
    "STILL_HELD",
    "STOPPED",
    "TAKE_SLOT",
    "TAKE_TURN",
    "TOLD",
    "TRY_AGAIN",
    "UNROUTED",
    "UNTOLD",
    "WAKE",
    "WAKE_ALL",
    "WALK_ON",
    "alone",
    "and_claim",
    "deaf",
    "fetch",
]
