"""The dispatcher, recovery, the workers' heartbeats, notifications and lock timeouts."""

from __future__ import annotations

from typing import Final

from taskqueue.engine.sql.claims import CLAIMABLE_QUEUES
from taskqueue.engine.sql.flow_control.admission import FULL_ROUNDS
from taskqueue.engine.sql.journal import LEASED

# Find what is due: tasks to claim, seconds until the next timer, whether sweeps have work, workers to recover. One
# round trip.
FIND_DUE_WORK: Final = f"""
WITH {CLAIMABLE_QUEUES}, {FULL_ROUNDS}
SELECT
    (
        SELECT count(*) FROM (
            SELECT FROM claimable UNION ALL SELECT FROM admissible LIMIT %(limit)s::int
        ) AS claimable
    ),
    (
        -- The next timer, and the next run of a schedule that this process has the code of. Also of paused pipelines,
        -- whose runs are skipped at their time.
        SELECT extract(epoch FROM least(
            (SELECT timer_at FROM taskqueue_task WHERE timer_at IS NOT NULL ORDER BY timer_at LIMIT 1),
            (SELECT min(next_at) FROM taskqueue_schedule WHERE pipeline_id = ANY (%(pipelines)s::text[]))
        ) - statement_timestamp())::float
    ),
    (
        -- In this order: deadlines that have passed, completions to handle, events to route, concurrency keys that no
        -- claim has reached, history to prune, tasks that wait for a slot of a step.
        coalesce(
            (SELECT deadline_at <= statement_timestamp() FROM taskqueue_task
             WHERE deadline_at IS NOT NULL ORDER BY deadline_at LIMIT 1), false)
        OR coalesce((SELECT true FROM taskqueue_task WHERE completion_pending_at IS NOT NULL
            ORDER BY completion_pending_at LIMIT 1), false)
        OR coalesce((SELECT true FROM taskqueue_event WHERE routed_at IS NULL ORDER BY id LIMIT 1), false)
        OR EXISTS (SELECT FROM full_rounds)
        OR coalesce((SELECT due_at <= statement_timestamp() FROM taskqueue_pruning WHERE name = ''), false)
        OR coalesce((SELECT true FROM taskqueue_task WHERE step_limit_queue IS NOT NULL ORDER BY step_limit_queue, id
            LIMIT 1), false)
        -- Starts by event whose code the process that routed the event did not have, but this one has.
        OR EXISTS (
            SELECT FROM unnest(%(pipelines)s::text[]) AS deployed (name) CROSS JOIN LATERAL (
                SELECT FROM taskqueue_skip
                WHERE kind = 'deferred'
                    AND pipeline_id >= deployed.name COLLATE "C" AND pipeline_id <= deployed.name COLLATE "C"
                ORDER BY pipeline_id, id LIMIT 1
            ) AS deferred
        )
        -- Bulk operations.
        OR coalesce((SELECT true FROM taskqueue_bulkoperation WHERE finished_at IS NULL ORDER BY id LIMIT 1), false)
    ),
    ARRAY(
        -- Workers that were ended while they claimed.
        SELECT ended.id FROM taskqueue_task task JOIN taskqueue_worker ended ON ended.id = task.worker_id
        WHERE task.status = 'running' AND task.started_at IS NOT NULL AND ended.ended_at IS NOT NULL
        UNION
        SELECT worker.id FROM taskqueue_worker worker
        WHERE worker.ended_at IS NULL AND (
            worker.heartbeat_at < statement_timestamp() - %(heartbeat_timeout)s::interval
            -- Workers without their advisory lock. After a restart of the database they need a moment to reacquire it.
            OR coalesce(
                -- After a crash the checkpointer is younger than the server; some roles may not see it.
                (SELECT max(backend_start) FROM pg_stat_activity WHERE backend_type = 'checkpointer'),
                pg_postmaster_start_time()
            ) < statement_timestamp() - %(startup_grace)s::interval AND NOT EXISTS (
                SELECT FROM pg_locks
                WHERE locktype = 'advisory' AND classid::bigint = %(lock_space)s::bigint
                AND objid::bigint = worker.id AND objsubid = 2
                AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
            )
        )
    )
"""

# So few that no plan but the index can seem better; the planner has to see the number.
PROMOTE_BATCH: Final = 50
# Queue the tasks whose timer is due.
PROMOTE: Final = """
UPDATE taskqueue_task SET status = 'queued'
WHERE id = ANY (ARRAY(
    SELECT id FROM taskqueue_task
    WHERE timer_at <= statement_timestamp()
    ORDER BY timer_at LIMIT 50
    FOR NO KEY UPDATE SKIP LOCKED
))
RETURNING id
"""

# End a lost worker, and queue the tasks that it claimed. The one that it executed gets a lost attempt; after several
# in a row it fails as poison. It waits for no lock, neither of another process that recovers this worker nor of a
# task's row: a skipped task stays with an ended worker, and the next FIND_DUE_WORK finds it.
RECOVER: Final = """
WITH dead AS (
    UPDATE taskqueue_worker worker
    SET ended_at = CASE WHEN %(only_task)s::uuid IS NULL THEN coalesce(worker.ended_at, statement_timestamp())
            ELSE worker.ended_at END,
        end_reason = CASE WHEN %(only_task)s::uuid IS NULL AND worker.ended_at IS NULL
            THEN left(%(reason)s::text, 100) ELSE worker.end_reason END,
        executing = 0,
        -- Read when the other workers of its process are recovered.
        task_id = CASE WHEN %(died)s::bool THEN coalesce(worker.task_id, (
            SELECT id FROM taskqueue_task
            WHERE worker_id = %(worker)s::int AND status = 'running' AND started_at IS NOT NULL
            LIMIT 1
        )) END
    FROM (
        SELECT id, ended_at, task_id FROM taskqueue_worker WHERE id = %(worker)s::int FOR NO KEY UPDATE SKIP LOCKED
    ) AS before
    WHERE worker.id = before.id
    RETURNING worker.id, worker.host, worker.pid, worker.cluster, worker.slots, before.task_id, worker.step,
        worker.step_started_at, before.ended_at IS NULL AS is_first
), claimed AS (
    SELECT task.id, task.lease, task.started_at, task.retried_at, task.sort_at
    FROM taskqueue_task task JOIN dead ON task.worker_id = dead.id
    WHERE task.worker_id = %(worker)s::int AND task.status = 'running' AND task.started_at IS NOT NULL
        AND (%(only_task)s::uuid IS NULL OR (task.id = %(only_task)s::uuid AND task.lease = %(only_lease)s::int))
    FOR NO KEY UPDATE OF task SKIP LOCKED
), executed AS (
    -- Of the claimed tasks the one that was executed: by the crash record of the worker, else by its last heartbeat.
    SELECT claimed.*, dead.id AS worker_id, dead.host, dead.pid, dead.cluster,
        -- An async worker executes all that it has claimed.
        dead.slots > 1 AND (SELECT count(*) FROM claimed) > 1 AS has_company,
        dead.task_id = claimed.id AS by_heartbeat, dead.step_started_at,
        CASE
            WHEN %(is_explained)s::bool THEN %(step)s::text
            WHEN dead.task_id = claimed.id THEN dead.step ELSE ''
        END AS step_key
    FROM claimed CROSS JOIN dead
    WHERE CASE
        WHEN %(is_explained)s::bool THEN claimed.id = %(task)s::uuid
        ELSE dead.is_first OR dead.task_id = claimed.id
    END
    ORDER BY dead.task_id = claimed.id DESC NULLS LAST, claimed.lease > 1 DESC, claimed.sort_at, claimed.id
    LIMIT 1
), unfinished AS (
    SELECT executed.id, executed.lease, executed.worker_id, executed.host, executed.pid, executed.cluster,
        executed.has_company,
        CASE WHEN done.is_done THEN '' ELSE executed.step_key END AS step_key,
        CASE WHEN executed.by_heartbeat AND executed.step_key <> '' AND NOT done.is_done THEN executed.step_started_at
            ELSE executed.started_at END AS began_at,
        greatest(
            executed.retried_at,
            (SELECT max(done.finished_at) FROM taskqueue_step done
             WHERE done.task_id = executed.id AND done.status = 'succeeded'),
            '-infinity'::timestamptz
        ) AS since
    FROM executed CROSS JOIN LATERAL (
        SELECT EXISTS (
            SELECT FROM taskqueue_step step
            WHERE step.task_id = executed.id AND step.key = executed.step_key AND step.status = 'succeeded'
        ) AS is_done
    ) AS done
), judged AS (
    -- Losses since the last finished step or retry by a person: by the death of a process that executed nothing else,
    -- of one that executed other tasks too, and others.
    SELECT unfinished.*, earlier.deaths + earlier.shared_deaths + 1 AS losses, company.is_known AS had_company,
        %(died)s::bool AND (
            earlier.deaths + (NOT company.is_known)::int >= %(poison)s::int
            OR earlier.deaths + earlier.shared_deaths + 1 >= %(poison_in_company)s::int
        ) AS fails,
        CASE WHEN %(backs_off)s::bool AND earlier.others > 0
            THEN least(make_interval(secs => 2 ^ least(earlier.others, 20)), %(longest)s::interval)
        END AS wait
    FROM unfinished CROSS JOIN LATERAL (
        SELECT count(*) FILTER (WHERE error_type = 'WorkerLost') AS deaths,
            count(*) FILTER (WHERE error_type = 'WorkerLostWithOthers') AS shared_deaths,
            count(*) FILTER (WHERE error_type NOT IN ('WorkerLost', 'WorkerLostWithOthers')) AS others
        FROM taskqueue_attempt attempt
        WHERE attempt.task_id = unfinished.id AND attempt.outcome = 'lost' AND attempt.finished_at > unfinished.since
    ) AS earlier CROSS JOIN LATERAL (
        -- By the crash records of the process, else by the tasks of its other workers, recovered or not.
        SELECT coalesce(%(had_company)s::bool, unfinished.has_company OR EXISTS (
            SELECT FROM taskqueue_worker other
            WHERE other.cluster = unfinished.cluster AND other.host = unfinished.host AND other.pid = unfinished.pid
                AND other.id <> unfinished.worker_id
                AND (other.ended_at IS NULL OR other.ended_at > statement_timestamp() - interval '1 minute')
                AND (other.task_id IS NOT NULL OR EXISTS (
                    SELECT FROM taskqueue_task task
                    WHERE task.worker_id = other.id AND task.status = 'running' AND task.started_at IS NOT NULL
                ))
        )) AS is_known
    ) AS company
), lost AS (
    INSERT INTO taskqueue_attempt (
        task_id, step_key, number, outcome, error_type, error_message, traceback, worker_id, lease, started_at,
        finished_at
    )
    SELECT judged.id, judged.step_key,
        (SELECT coalesce(max(number), 0) + 1 FROM taskqueue_attempt a
         WHERE a.task_id = judged.id AND a.step_key = judged.step_key),
        'lost', coalesce(
            nullif(%(error_type)s::text, ''),
            CASE WHEN judged.had_company THEN 'WorkerLostWithOthers' ELSE 'WorkerLost' END
        ),
        coalesce(nullif(%(message)s::text, ''), format('Worker %%s (process %%s on %%s) was lost: %%s.',
        judged.worker_id, judged.pid, judged.host, %(reason)s::text)
            || CASE WHEN judged.had_company THEN ' It executed other tasks too, and any of them may be the cause.'
                ELSE '' END), %(stack)s::text, judged.worker_id, judged.lease,
        least(judged.began_at, statement_timestamp()), statement_timestamp()
    FROM judged
    ON CONFLICT DO NOTHING
)
UPDATE taskqueue_task task
SET status = CASE WHEN judged.fails THEN 'failed' WHEN judged.wait IS NOT NULL THEN 'retrying' ELSE 'queued' END,
    finished_at = CASE WHEN judged.fails THEN statement_timestamp() END,
    due_at = coalesce(statement_timestamp() + judged.wait, task.due_at),
    sort_at = coalesce(
        statement_timestamp() + judged.wait - make_interval(secs => task.priority), task.sort_at
    ),
    error = CASE WHEN judged.fails THEN jsonb_build_object(
        'type', 'Poison', 'step', nullif(judged.step_key, ''),
        'message', format('%%s workers in a row were lost in it; the last: %%s.', judged.losses, %(reason)s::text)
    ) END
FROM claimed LEFT JOIN judged USING (id)
WHERE task.id = claimed.id AND task.id = ANY (ARRAY(SELECT id FROM claimed))
RETURNING task.id, task.status
"""

# Wait until another process has recovered a worker.
WAIT_FOR_RECOVERY: Final = "SELECT FROM taskqueue_worker WHERE id = %(worker)s::int FOR NO KEY UPDATE"

# Write the reason into a lost attempt that another process has recorded without knowing it.
EXPLAIN_LOSS: Final = """
WITH worker AS (
    UPDATE taskqueue_worker SET end_reason = left(%(reason)s::text, 100)
    WHERE id = %(worker)s::int
    RETURNING id, host, pid
), attempt AS (
    UPDATE taskqueue_attempt attempt
    SET error_message = coalesce(nullif(%(message)s::text, ''),
            format('Worker %%s (process %%s on %%s) was lost: %%s.', worker.id, worker.pid, worker.host,
            %(reason)s::text) || CASE WHEN %(had_company)s::bool THEN
            ' It executed other tasks too, and any of them may be the cause.' ELSE '' END),
        error_type = coalesce(
            nullif(%(error_type)s::text, ''),
            CASE WHEN %(had_company)s::bool THEN 'WorkerLostWithOthers' ELSE 'WorkerLost' END
        ),
        -- A stack of another task's crash is none of this attempt.
        traceback = CASE WHEN %(error_type)s::text <> '' THEN %(stack)s::text
            ELSE coalesce(nullif(attempt.traceback, ''), %(stack)s::text) END,
        step_key = CASE WHEN attempt.step_key = '' THEN %(step)s::text ELSE attempt.step_key END,
        number = CASE WHEN attempt.step_key <> '' THEN attempt.number ELSE (
            SELECT coalesce(max(number), 0) + 1 FROM taskqueue_attempt a
            WHERE a.task_id = attempt.task_id AND a.step_key = %(step)s::text
        ) END
    FROM worker
    WHERE attempt.task_id = %(task)s::uuid AND attempt.worker_id = worker.id AND attempt.outcome = 'lost'
    RETURNING attempt.task_id
)
UPDATE taskqueue_task task
SET error = task.error || jsonb_build_object('step', nullif(%(step)s::text, ''), 'message', regexp_replace(
    task.error ->> 'message', '; the last: .*', format('; the last: %%s.', %(reason)s::text)
))
FROM attempt
WHERE task.id = attempt.task_id AND task.id = %(task)s::uuid AND task.status = 'failed'
    AND task.error ->> 'type' = 'Poison'
RETURNING task.id
"""

# Correct the lost attempt of a worker that was presumed dead and is alive.
CORRECT_LOSS: Final = """
UPDATE taskqueue_attempt
SET error_type = 'WorkerSilent',
    error_message = error_message || ' It was not dead: it has answered since, and so this does not count as a death.'
WHERE task_id = %(task)s::uuid AND worker_id = %(worker)s::int AND lease = %(lease)s::int AND outcome = 'lost'
    AND error_type IN ('WorkerLost', 'WorkerLostWithOthers')
"""

# Write a worker's heartbeat. Returns whether it drains; no row when another process has ended it.
HEARTBEAT: Final = """
UPDATE taskqueue_worker
SET heartbeat_at = statement_timestamp(), task_id = %(task)s::uuid, step = %(step)s::text,
    executing = %(executing)s::smallint, steps = %(steps)s::jsonb,
    step_started_at = statement_timestamp() - %(elapsed)s::interval, claim_error = %(claim_error)s::text
WHERE id = %(worker)s::int AND ended_at IS NULL
RETURNING draining_at IS NOT NULL
"""

# The leases of all tasks that a worker executes, without a lock.
LEASES_OF_WORKER: Final = """
SELECT id, lease FROM taskqueue_task
WHERE worker_id = %(worker)s::int AND status = 'running' AND started_at IS NOT NULL
"""

# Check a running task's lease, without a lock.
CHECK_LEASE: Final = """
SELECT id FROM taskqueue_task
WHERE id = %(task)s::uuid AND worker_id = %(worker)s::int AND lease = %(lease)s::int AND status = 'running'
"""

# Write a task's progress, under its lease.
REPORT_PROGRESS: Final = f"""
WITH {LEASED}
UPDATE taskqueue_task task SET progress = %(progress)s::float, progress_note = %(note)s::text
FROM leased WHERE task.id = leased.id AND task.id = %(task)s::uuid
"""

# Write the logs and the stack of the step that a worker executes. Without a lock: a report under a lost lease is not
# shown.
REPORT_STEP: Final = """
INSERT INTO taskqueue_stepreport (worker_id, task_id, lease, step, logs, stack, reported_at)
SELECT %(worker)s::int, id, %(lease)s::int, %(step)s::text, %(logs)s::jsonb, %(stack)s::text, statement_timestamp()
FROM taskqueue_task
WHERE id = %(task)s::uuid AND worker_id = %(worker)s::int AND lease = %(lease)s::int AND status = 'running'
ON CONFLICT (task_id) DO UPDATE SET
    worker_id = excluded.worker_id, lease = excluded.lease, step = excluded.step, logs = excluded.logs,
    stack = excluded.stack, reported_at = excluded.reported_at
"""

# Delete reports on tasks that the worker executes no more.
DELETE_OLD_REPORTS: Final = """
DELETE FROM taskqueue_stepreport report
WHERE report.reported_at < statement_timestamp() - interval '1 minute' AND coalesce((
    -- A subquery for each row: a join could read all running tasks.
    SELECT task.status <> 'running' OR task.lease <> report.lease FROM taskqueue_task task
    WHERE task.id = report.task_id
), true)
"""

# Notify the workers. In a transaction of its own after the caller's: NOTIFY takes a lock on the whole server until it
# commits. A notification may be lost, so it need not wait for the disk.
NOTIFY: Final = "SELECT set_config('synchronous_commit', 'off', true), pg_notify(%(channel)s::text, '')"

# Limit how long a statement waits for locks, for the rest of a transaction.
SET_LOCAL_LOCK_TIMEOUT: Final = "SELECT set_config('lock_timeout', %(lock_timeout)s::text, true)"

# Limit how long statements wait for locks from here on, and return the limit before.
SET_LOCK_TIMEOUT: Final = """
SELECT before.value FROM (SELECT current_setting('lock_timeout') AS value OFFSET 0) AS before
CROSS JOIN LATERAL (SELECT set_config('lock_timeout', %(lock_timeout)s::text, false), before.value) AS after
"""
