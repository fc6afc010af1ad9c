"""What a task has done: its steps, failed attempts and end. Each statement is fenced: it writes only under the lease.

`FINISH`, `FINISH_WITH_STEP`, `FINISH_MANY`, `FAIL_BODY`, `RETRY`, `RELEASE` and `MOVE` end an execution. They are
parts, which `standalone`, `close_waits` and `claims.with_claim` make whole.
"""

from __future__ import annotations

from typing import Final, LiteralString

# The task, if this worker still has its lease. Its lock keeps recovery and cancel out until the commit. A statement
# that joins it names the row by its parameter too: without statistics, PostgreSQL may take the table for one row, and
# read all of it for the join.
LEASED: Final = """leased AS (
    SELECT id FROM taskqueue_task
    WHERE id = %(task)s::uuid AND worker_id = %(worker)s::int AND lease = %(lease)s::int AND status = 'running'
    FOR NO KEY UPDATE
)"""

# The row of a step that has succeeded: its columns, and what happens to the row of its failed attempts. No row is
# returned when it is recorded already.
RECORDED_COLUMNS: Final = (
    "task_id, key, name, kind, status, failures, input, input_hash, output, logs, started_at, finished_at"
)
UNLESS_RECORDED: Final = """ON CONFLICT (task_id, key) DO UPDATE
    SET status = 'succeeded', input = EXCLUDED.input, input_hash = EXCLUDED.input_hash, output = EXCLUDED.output,
        logs = EXCLUDED.logs, error = NULL, until = NULL, started_at = EXCLUDED.started_at,
        finished_at = EXCLUDED.finished_at
    WHERE existing.status <> 'succeeded'
    RETURNING output::text"""

SUCCEEDED_STEP: Final = f"""step AS (
    INSERT INTO taskqueue_step AS existing ({RECORDED_COLUMNS})
    SELECT
        leased.id, %(key)s::text, %(name)s::text, %(kind)s::text, 'succeeded', 0, %(input)s::jsonb,
        %(input_hash)s::text, %(output)s::jsonb, %(logs)s::jsonb,
        statement_timestamp() - %(elapsed)s::interval, statement_timestamp()
    FROM leased
    {UNLESS_RECORDED}
)"""

# Record a step that has succeeded, once. Returns the recorded output, and whether the pipeline is paused.
CHECKPOINT: Final = f"""
WITH {LEASED}, {SUCCEEDED_STEP}
SELECT step.output, (
    -- A running task of a paused pipeline stops after this step.
    SELECT pipeline.paused_at IS NOT NULL FROM taskqueue_task task
    JOIN taskqueue_pipeline pipeline ON pipeline.name = task.pipeline_id
    WHERE task.id = %(task)s::uuid
)
FROM step
"""

# The attempt of a task or of a step, under its next number.
INSERT_ATTEMPT: Final = """attempt AS (
    INSERT INTO taskqueue_attempt (
        task_id, step_key, number, outcome, error_type, error_message, traceback, logs, worker_id, lease, started_at,
        finished_at
    )
    SELECT
        leased.id, %(key)s::text,
        (SELECT coalesce(max(number), 0) + 1 FROM taskqueue_attempt
         WHERE task_id = leased.id AND step_key = %(key)s::text),
        %(outcome)s::text, %(error_type)s::text, %(error_message)s::text, %(traceback)s::text, %(logs)s::jsonb,
        %(worker)s::int, %(lease)s::int, statement_timestamp() - %(elapsed)s::interval, statement_timestamp()
    FROM written JOIN leased USING (id)
)"""

# A failed attempt, and the row of its step: none for the pipeline's body, whose key is empty.
FAILED_ATTEMPT: Final = f"""{LEASED}, step AS (
    INSERT INTO taskqueue_step AS existing (
        task_id, key, name, status, failures, input, input_hash, error, started_at, finished_at
    )
    SELECT
        leased.id, %(key)s::text, %(name)s::text, %(step_status)s::text, 1, %(input)s::jsonb, %(input_hash)s::text,
        %(step_error)s::jsonb, statement_timestamp() - %(elapsed)s::interval, statement_timestamp()
    FROM leased
    WHERE %(key)s::text <> ''
    ON CONFLICT (task_id, key) DO UPDATE
    SET status = EXCLUDED.status, failures = existing.failures + 1, input = EXCLUDED.input,
        input_hash = EXCLUDED.input_hash, error = EXCLUDED.error, until = NULL,
        started_at = EXCLUDED.started_at, finished_at = EXCLUDED.finished_at
    WHERE existing.status <> 'succeeded'
    RETURNING id
), written AS (
    -- A commit that was answered with an error may have happened: then the step has succeeded, and nothing failed.
    SELECT id FROM leased WHERE %(key)s::text = '' OR EXISTS (SELECT FROM step)
), {INSERT_ATTEMPT}"""

# Record a failed attempt of a step.
RECORD_FAILED_STEP: Final = f"WITH {FAILED_ATTEMPT} SELECT id FROM written"

# Record a failed attempt of a hook, without its step, which has succeeded.
RECORD_FAILED_HOOK: Final = (
    f"WITH {LEASED}, written AS (SELECT id FROM leased), {INSERT_ATTEMPT} SELECT id FROM written"
)

# Record a failed attempt, and retry the task after its wait; at once when the step has succeeded after all.
RETRY: Final = f"""{FAILED_ATTEMPT}, settled AS (
    UPDATE taskqueue_task task
    SET status = CASE WHEN later.due_at IS NULL THEN 'queued' ELSE 'retrying' END,
        failures = task.failures + %(body_failures)s::smallint,
        due_at = coalesce(later.due_at, task.due_at), blocked_on = '',
        sort_at = coalesce(later.due_at, task.due_at) - make_interval(secs => task.priority)
    FROM leased LEFT JOIN (
        SELECT id, statement_timestamp() + %(wait)s::interval AS due_at FROM written
    ) AS later USING (id)
    WHERE task.id = leased.id AND task.id = %(task)s::uuid
    RETURNING task.id
)"""

# The end of a task.
ENDED_TASK: Final = """settled AS (
    UPDATE taskqueue_task task
    SET status = %(status)s::text, result = %(result)s::jsonb, error = %(error)s::jsonb,
        finished_at = statement_timestamp(), code_ended = %(code)s::text,
        drift = coalesce(%(drift)s::jsonb, task.drift),
        progress = CASE WHEN %(status)s::text = 'succeeded' AND progress IS NOT NULL THEN 1 ELSE progress END,
        progress_note = CASE WHEN %(status)s::text = 'succeeded' THEN '' ELSE progress_note END
    FROM leased
    WHERE task.id = leased.id AND task.id = %(task)s::uuid
    RETURNING task.id
)"""

# End a task: succeeded, or failed by a step whose attempt is recorded.
FINISH: Final = f"{LEASED}, {ENDED_TASK}"

# Record the last step of a task, and end the task.
FINISH_WITH_STEP: Final = f"{LEASED}, {SUCCEEDED_STEP}, {ENDED_TASK}"

# End several tasks that have succeeded, each with its last step if that is to be recorded. They are locked in one
# order, so that two processes never wait for each other; a task whose lease is gone is left out.
FINISH_MANY: Final = f"""ends AS MATERIALIZED (
    SELECT * FROM unnest(
        %(tasks)s::uuid[], %(workers)s::int[], %(leases)s::int[], %(results)s::text[], %(fingerprints)s::text[],
        %(drifts)s::text[], %(keys)s::text[], %(names)s::text[], %(kinds)s::text[], %(inputs)s::text[],
        %(input_hashes)s::text[], %(outputs)s::text[], %(logs)s::text[], %(elapsed)s::interval[]
    ) AS ends (
        task_id, worker, lease, result, code, drift, key, name, kind, input, input_hash, output, logs, elapsed
    )
    ORDER BY task_id
), leased AS MATERIALIZED (
    SELECT held.id, ends.* FROM ends CROSS JOIN LATERAL (
        SELECT task.id FROM taskqueue_task task
        WHERE task.id = ends.task_id AND task.worker_id = ends.worker AND task.lease = ends.lease
            AND task.status = 'running'
        FOR NO KEY UPDATE
    ) AS held
), step AS (
    INSERT INTO taskqueue_step AS existing ({RECORDED_COLUMNS})
    SELECT
        leased.id, leased.key, leased.name, leased.kind, 'succeeded', 0, leased.input::jsonb, leased.input_hash,
        leased.output::jsonb, leased.logs::jsonb, statement_timestamp() - leased.elapsed, statement_timestamp()
    FROM leased WHERE leased.key IS NOT NULL
    {UNLESS_RECORDED}
), settled AS (
    UPDATE taskqueue_task task
    SET status = 'succeeded', result = leased.result::jsonb, error = NULL, finished_at = statement_timestamp(),
        code_ended = leased.code, drift = coalesce(leased.drift::jsonb, task.drift),
        progress = CASE WHEN task.progress IS NOT NULL THEN 1 END, progress_note = ''
    FROM leased
    WHERE task.id = leased.id AND task.id = ANY (%(tasks)s::uuid[])
    RETURNING task.id
)"""

# End a task that failed outside of its steps, and record the attempt.
FAIL_BODY: Final = f"""{FAILED_ATTEMPT}, settled AS (
    UPDATE taskqueue_task task
    SET status = 'failed', error = %(error)s::jsonb, failures = task.failures + 1, finished_at = statement_timestamp(),
        code_ended = %(code)s::text, drift = coalesce(%(drift)s::jsonb, task.drift)
    FROM leased
    WHERE task.id = leased.id AND task.id = %(task)s::uuid
    RETURNING task.id
)"""

# Release a task to the queue. It keeps its position: it was interrupted, not postponed.
RELEASE: Final = f"""{LEASED}, settled AS (
    UPDATE taskqueue_task task SET status = 'queued'
    FROM leased WHERE task.id = leased.id AND task.id = %(task)s::uuid
    RETURNING task.id
)"""

# Queue a task for the workers of another queue, that of a step, now or after a wait. It keeps its position too.
MOVE: Final = f"""{LEASED}, settled AS (
    UPDATE taskqueue_task task
    SET step_queue = %(step_queue)s::text,
        status = CASE WHEN %(wait)s::interval > interval '0' THEN 'waiting' ELSE 'queued' END,
        due_at = greatest(task.due_at, statement_timestamp() + nullif(%(wait)s::interval, interval '0')),
        sort_at = greatest(task.due_at, statement_timestamp() + nullif(%(wait)s::interval, interval '0'))
            - make_interval(secs => task.priority)
    FROM leased WHERE task.id = leased.id AND task.id = %(task)s::uuid
    RETURNING task.id
)"""

# Load all recorded steps of a task.
LOAD_JOURNAL: Final = """
SELECT key, kind, status, failures, input_hash, output::text, error::text,
    extract(epoch FROM until - statement_timestamp())::float
FROM taskqueue_step WHERE task_id = %(task)s::uuid
"""

# Load the recorded inputs of a task's steps for the check of drift: of all, or of those with these keys.
LOAD_INPUTS: Final = """
SELECT key, input::text FROM taskqueue_step
WHERE task_id = %(task)s::uuid AND (%(keys)s::text[] IS NULL OR key = ANY (%(keys)s::text[]))
"""


def standalone(settling: LiteralString) -> LiteralString:
    """Make a whole statement of the part that ends an execution."""
    return f"WITH {settling} SELECT FROM settled"


def close_waits(settling: LiteralString) -> LiteralString:
    """End a task and close its open waits, such as those of `cancel_on`.

    Else an event would match the waits of every task that ever listened for it.
    """
    return f"""{settling}, closed AS (
    UPDATE taskqueue_wait SET outcome = 'closed', resolved_at = statement_timestamp()
    WHERE task_id = %(task)s::uuid AND EXISTS (SELECT FROM settled) AND (outcome = '') IS TRUE
)"""
