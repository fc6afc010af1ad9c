-- Have changes of these tasks announced for a while.
-- Parameters: :seconds float, :tasks uuid[]
INSERT INTO taskqueue_streamwatch (task_id, until)
SELECT task, clock_timestamp() + make_interval(secs => :seconds::float)
FROM unnest(:tasks::uuid[]) AS task ORDER BY task
ON CONFLICT (task_id) DO UPDATE SET until = EXCLUDED.until;
