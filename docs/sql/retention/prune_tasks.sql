-- Delete old tasks with all that is theirs, and clear what points at them. So many at once that their steps are bounded
-- too, but at least one. Foreign keys are checked at the commit.
-- Parameters: :pipeline text, :after uuid, :keep interval
WITH RECURSIVE walked AS (
    (
        SELECT id, created_at, finished_at FROM taskqueue_task
        WHERE pipeline_id >= :pipeline::text AND pipeline_id <= :pipeline::text AND id > :after::uuid
        ORDER BY pipeline_id DESC, id LIMIT 1
    )
    UNION ALL
    SELECT following.id, following.created_at, following.finished_at FROM walked CROSS JOIN LATERAL (
        SELECT id, created_at, finished_at FROM taskqueue_task
        WHERE pipeline_id >= :pipeline::text AND pipeline_id <= :pipeline::text AND id > walked.id
        ORDER BY pipeline_id DESC, id LIMIT 1
    ) AS following
), looked AS MATERIALIZED (SELECT * FROM walked LIMIT 200), free AS MATERIALIZED (
    SELECT task.id,
        (SELECT count(*) FROM (SELECT FROM taskqueue_step WHERE task_id = task.id LIMIT 2000) AS own) AS weight
    FROM taskqueue_task task
    WHERE task.id = ANY (ARRAY(
        SELECT id FROM looked WHERE finished_at < statement_timestamp() - :keep::interval
    )) AND task.finished_at < statement_timestamp() - :keep::interval AND NOT task.notify_completion
    AND task.finished_at < coalesce((SELECT final_until FROM taskqueue_rollupmark), 'infinity')
    AND NOT EXISTS (
        SELECT FROM taskqueue_task above WHERE above.id = task.parent_id AND above.finished_at IS NULL
    )
    AND NOT EXISTS (
        SELECT FROM taskqueue_task below WHERE below.parent_id = task.id AND below.finished_at IS NULL
    )
    AND NOT EXISTS (
        SELECT FROM taskqueue_idempotencykey held
        WHERE held.task_id = task.id AND held.expires_at > statement_timestamp() - interval '1 hour'
    )
    AND NOT EXISTS (SELECT FROM taskqueue_skip skipped WHERE skipped.task_id = task.id OFFSET 1000)
    ORDER BY task.id LIMIT 100
    FOR UPDATE OF task SKIP LOCKED
), doomed AS MATERIALIZED (
    SELECT id FROM (
        SELECT id, sum(weight) OVER (ORDER BY id) - weight AS before FROM free
    ) AS weighed WHERE before < 2000
), steps AS (
    DELETE FROM taskqueue_step WHERE task_id = ANY (ARRAY(SELECT id FROM doomed)) RETURNING 1
), attempts AS (
    DELETE FROM taskqueue_attempt WHERE task_id = ANY (ARRAY(SELECT id FROM doomed)) RETURNING 1
), waits AS (
    DELETE FROM taskqueue_wait WHERE task_id = ANY (ARRAY(SELECT id FROM doomed)) RETURNING 1
), keys AS (
    DELETE FROM taskqueue_idempotencykey WHERE task_id = ANY (ARRAY(SELECT id FROM doomed)) RETURNING 1
), skips AS (
    DELETE FROM taskqueue_skip WHERE task_id = ANY (ARRAY(SELECT id FROM doomed)) RETURNING 1
), slots AS (
    DELETE FROM taskqueue_stepslot WHERE task_id = ANY (ARRAY(SELECT id FROM doomed))
), done_by AS (
    UPDATE taskqueue_step SET child_id = NULL
    WHERE child_id = ANY (ARRAY(SELECT id FROM doomed)) AND NOT task_id = ANY (ARRAY(SELECT id FROM doomed))
), sent AS (
    UPDATE taskqueue_event SET source_id = NULL WHERE source_id = ANY (ARRAY(SELECT id FROM doomed))
), related AS (
    UPDATE taskqueue_task task
    SET parent_id = CASE WHEN task.parent_id = ANY (ARRAY(SELECT id FROM doomed)) THEN NULL ELSE task.parent_id END,
        rerun_of_id = CASE
            WHEN task.rerun_of_id = ANY (ARRAY(SELECT id FROM doomed)) THEN NULL ELSE task.rerun_of_id
        END
    WHERE task.id = ANY (ARRAY(
        SELECT id FROM taskqueue_task WHERE parent_id = ANY (ARRAY(SELECT id FROM doomed))
        UNION SELECT id FROM taskqueue_task WHERE rerun_of_id = ANY (ARRAY(SELECT id FROM doomed))
        EXCEPT SELECT id FROM doomed
    ))
), gone AS (
    DELETE FROM taskqueue_task WHERE id = ANY (ARRAY(SELECT id FROM doomed)) RETURNING 1
)
SELECT (SELECT count(*) FROM gone),
    (SELECT count(*) FROM gone) + (SELECT count(*) FROM steps) + (SELECT count(*) FROM attempts)
    + (SELECT count(*) FROM waits) + (SELECT count(*) FROM keys) + (SELECT count(*) FROM skips),
    CASE WHEN full_hands THEN (SELECT id FROM doomed ORDER BY id DESC LIMIT 1) ELSE (SELECT id FROM looked ORDER BY id DESC LIMIT 1) END,
    NOT full_hands AND (
    SELECT count(*) < 200 OR coalesce(max(created_at) >= statement_timestamp() - :keep::interval, true) FROM looked
)
FROM (
    SELECT count(*) = 100 OR count(*) > (SELECT count(*) FROM doomed) AS full_hands FROM free
) AS hands;
