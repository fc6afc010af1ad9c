-- Sum up the steps of a pipeline's newest tasks, in the order in which they run.
-- Parameters: :pipeline text
WITH newest AS MATERIALIZED (
    SELECT id, created_at, version, code_began, code_ended FROM (
        SELECT task.id, task.pipeline_id, task.created_at, task.version, task.code_began, task.code_ended,
            task.parallel_step
        FROM taskqueue_task task WHERE task.pipeline_id >= :pipeline::text COLLATE "C"
        ORDER BY task.pipeline_id, task.id DESC LIMIT 2000
    ) AS from_pipeline
    WHERE pipeline_id = :pipeline::text AND parallel_step = '' ORDER BY id DESC LIMIT 500
), sampled AS MATERIALIZED (
    SELECT step.* FROM newest CROSS JOIN LATERAL (
        SELECT own.name, own.kind, own.status, coalesce(attempts.number, 0) AS failures,
            own.finished_at - own.started_at AS duration,
            row_number() OVER (ORDER BY own.id) AS position
        FROM (
            SELECT step.id, step.key, step.name, step.kind, step.status, step.started_at, step.finished_at
            FROM taskqueue_step step WHERE step.task_id = newest.id ORDER BY step.task_id, step.key LIMIT 200
        ) AS own LEFT JOIN (
            SELECT attempt.step_key, count(*) AS number
            FROM taskqueue_attempt attempt WHERE attempt.task_id = newest.id GROUP BY attempt.step_key
        ) AS attempts ON attempts.step_key = own.key
    ) AS step LIMIT 20000
)
SELECT name, min(kind), count(*) FILTER (WHERE status = 'succeeded'), count(*) FILTER (WHERE status = 'failed'),
    sum(failures)::int, percentile_cont(0.5) WITHIN GROUP (ORDER BY duration) FILTER (WHERE status = 'succeeded'),
    (SELECT count(*) FROM newest)
FROM sampled GROUP BY name ORDER BY avg(position), name;
