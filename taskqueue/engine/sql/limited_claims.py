"""The end of a task of a limited pipeline, which passes its slot on to the next task in the statement that claims."""

from __future__ import annotations

from typing import Final, LiteralString

from taskqueue.engine.sql.claims import CLAIM
from taskqueue.engine.sql.flow_control.admission import count_as_blocked, used_slots

# The pipeline whose slot the task that this statement ends passes on: one starts as one ends. Two ends at once take
# different tasks, and no other claim sees the slot free in between. If more slots are in use than a lowered limit
# allows, no slot is passed on. `is_full` says that the next task was blocked until now.
PASSED_SLOT: Final = f"""passed_slot AS MATERIALIZED (
    SELECT active.name, used.number = active.tasks AS is_full
    FROM active CROSS JOIN LATERAL (
        SELECT {used_slots("active.tasks + 1")} AS number OFFSET 0
    ) AS used
    WHERE active.passes_slot AND active.name = %(slot_of)s::text AND used.number <= active.tasks
        AND EXISTS (SELECT FROM settled)
        AND active.name = (SELECT ended.slot_pipeline FROM taskqueue_task ended WHERE ended.id = %(task)s::uuid)
), claimable AS"""

WAS_BLOCKED: Final = """task.slot_acquired_at IS NULL
            AND EXISTS (SELECT FROM passed_slot WHERE is_full AND name = task.pipeline_id)"""

BLOCKED_TIME: Final = f"""{count_as_blocked(WAS_BLOCKED)},
        code_began = CASE"""


def with_freed_slot(settling: LiteralString) -> LiteralString:
    """End a limited task, and claim the next tasks as if its slot were free.

    If the oldest task is then one that waits for the slot, nothing is claimed, and the claim returns its pipeline.
    """
    counted, others = "WHERE slot.slot_pipeline", "WHERE slot.id <> %(task)s::uuid AND slot.slot_pipeline"
    return CLAIM.replace(counted, others).replace("WITH", f"WITH {settling},", 1)


def with_passed_slot(settling: LiteralString) -> LiteralString:
    """End a limited task, and claim the next task: of its pipeline, with its slot, or of another one."""
    claim = CLAIM.replace("claimable AS", PASSED_SLOT, 1).replace("code_began = CASE", BLOCKED_TIME, 1)
    claim = claim.replace("NOT is_limited", "(NOT is_limited OR name = (SELECT name FROM passed_slot))", 1)
    return claim.replace("WITH", f"WITH {settling},", 1)
