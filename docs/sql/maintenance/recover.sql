-- End a lost worker, and queue the tasks that it claimed. The one that it executed gets a lost attempt; after several
-- in a row it fails as poison. It waits for no lock, neither of another process that recovers this worker nor of a
-- task's row: a skipped task stays with an ended worker, and the next FIND_DUE_WORK finds it.
-- Parameters: :only_task uuid, :reason text, :died bool, :worker int, :only_lease int, :is_explained bool, :step text,
-- :task uuid, :poison int, :poison_in_company int, :backs_off bool, :longest interval, :had_company bool, :error_type
-- text, :message text, :stack text
WITH dead AS (
    UPDATE taskqueue_worker worker
    SET ended_at = CASE WHEN :only_task::uuid IS NULL THEN coalesce(worker.ended_at, statement_timestamp())
            ELSE worker.ended_at END,
        end_reason = CASE WHEN :only_task::uuid IS NULL AND worker.ended_at IS NULL
            THEN left(:reason::text, 100) ELSE worker.end_reason END,
        executing = 0,
        -- Read when the other workers of its process are recovered.
        task_id = CASE WHEN :died::bool THEN coalesce(worker.task_id, (
            SELECT id FROM taskqueue_task
            WHERE worker_id = :worker::int AND status = 'running' AND started_at IS NOT NULL
            LIMIT 1
        )) END
    FROM (
        SELECT id, ended_at, task_id FROM taskqueue_worker WHERE id = :worker::int FOR NO KEY UPDATE SKIP LOCKED
    ) AS before
    WHERE worker.id = before.id
    RETURNING worker.id, worker.host, worker.pid, worker.cluster, worker.slots, before.task_id, worker.step,
        worker.step_started_at, before.ended_at IS NULL AS is_first
), claimed AS (
    SELECT task.id, task.lease, task.started_at, task.retried_at, task.sort_at
    FROM taskqueue_task task JOIN dead ON task.worker_id = dead.id
    WHERE task.worker_id = :worker::int AND task.status = 'running' AND task.started_at IS NOT NULL
        AND (:only_task::uuid IS NULL OR (task.id = :only_task::uuid AND task.lease = :only_lease::int))
    FOR NO KEY UPDATE OF task SKIP LOCKED
), executed AS (
    -- Of the claimed tasks the one that was executed: by the crash record of the worker, else by its last heartbeat.
    SELECT claimed.*, dead.id AS worker_id, dead.host, dead.pid, dead.cluster,
        -- An async worker executes all that it has claimed.
        dead.slots > 1 AND (SELECT count(*) FROM claimed) > 1 AS has_company,
        dead.task_id = claimed.id AS by_heartbeat, dead.step_started_at,
        CASE
            WHEN :is_explained::bool THEN :step::text
            WHEN dead.task_id = claimed.id THEN dead.step ELSE ''
        END AS step_key
    FROM claimed CROSS JOIN dead
    WHERE CASE
        WHEN :is_explained::bool THEN claimed.id = :task::uuid
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
        :died::bool AND (
            earlier.deaths + (NOT company.is_known)::int >= :poison::int
            OR earlier.deaths + earlier.shared_deaths + 1 >= :poison_in_company::int
        ) AS fails,
        CASE WHEN :backs_off::bool AND earlier.others > 0
            THEN least(make_interval(secs => 2 ^ least(earlier.others, 20)), :longest::interval)
        END AS wait
    FROM unfinished CROSS JOIN LATERAL (
        SELECT count(*) FILTER (WHERE error_type = 'WorkerLost') AS deaths,
            count(*) FILTER (WHERE error_type = 'WorkerLostWithOthers') AS shared_deaths,
            count(*) FILTER (WHERE error_type NOT IN ('WorkerLost', 'WorkerLostWithOthers')) AS others
        FROM taskqueue_attempt attempt
        WHERE attempt.task_id = unfinished.id AND attempt.outcome = 'lost' AND attempt.finished_at > unfinished.since
    ) AS earlier CROSS JOIN LATERAL (
        -- By the crash records of the process, else by the tasks of its other workers, recovered or not.
        SELECT coalesce(:had_company::bool, unfinished.has_company OR EXISTS (
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
            nullif(:error_type::text, ''),
            CASE WHEN judged.had_company THEN 'WorkerLostWithOthers' ELSE 'WorkerLost' END
        ),
        coalesce(nullif(:message::text, ''), format('Worker %s (process %s on %s) was lost: %s.',
        judged.worker_id, judged.pid, judged.host, :reason::text)
            || CASE WHEN judged.had_company THEN ' It executed other tasks too, and any of them may be the cause.'
                ELSE '' END), :stack::text, judged.worker_id, judged.lease,
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
        'message', format('%s workers in a row were lost in it; the last: %s.', judged.losses, :reason::text)
    ) END
FROM claimed LEFT JOIN judged USING (id)
WHERE task.id = claimed.id AND task.id = ANY (ARRAY(SELECT id FROM claimed))
RETURNING task.id, task.status;
