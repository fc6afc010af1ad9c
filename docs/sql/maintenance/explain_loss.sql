-- Write the reason into a lost attempt that another process has recorded without knowing it.
-- Parameters: :reason text, :worker int, :message text, :had_company bool, :error_type text, :stack text, :step text,
-- :task uuid
WITH worker AS (
    UPDATE taskqueue_worker SET end_reason = left(:reason::text, 100)
    WHERE id = :worker::int
    RETURNING id, host, pid
), attempt AS (
    UPDATE taskqueue_attempt attempt
    SET error_message = coalesce(nullif(:message::text, ''),
            format('Worker %s (process %s on %s) was lost: %s.', worker.id, worker.pid, worker.host,
            :reason::text) || CASE WHEN :had_company::bool THEN
            ' It executed other tasks too, and any of them may be the cause.' ELSE '' END),
        error_type = coalesce(
            nullif(:error_type::text, ''),
            CASE WHEN :had_company::bool THEN 'WorkerLostWithOthers' ELSE 'WorkerLost' END
        ),
        -- A stack of another task's crash is none of this attempt.
        traceback = CASE WHEN :error_type::text <> '' THEN :stack::text
            ELSE coalesce(nullif(attempt.traceback, ''), :stack::text) END,
        step_key = CASE WHEN attempt.step_key = '' THEN :step::text ELSE attempt.step_key END,
        number = CASE WHEN attempt.step_key <> '' THEN attempt.number ELSE (
            SELECT coalesce(max(number), 0) + 1 FROM taskqueue_attempt a
            WHERE a.task_id = attempt.task_id AND a.step_key = :step::text
        ) END
    FROM worker
    WHERE attempt.task_id = :task::uuid AND attempt.worker_id = worker.id AND attempt.outcome = 'lost'
    RETURNING attempt.task_id
)
UPDATE taskqueue_task task
SET error = task.error || jsonb_build_object('step', nullif(:step::text, ''), 'message', regexp_replace(
    task.error ->> 'message', '; the last: .*', format('; the last: %s.', :reason::text)
))
FROM attempt
WHERE task.id = attempt.task_id AND task.id = :task::uuid AND task.status = 'failed'
    AND task.error ->> 'type' = 'Poison'
RETURNING task.id;
