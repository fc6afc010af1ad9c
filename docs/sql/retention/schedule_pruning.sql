-- Set when to prune next: after so many seconds, or when the next pipeline is due.
-- Parameters: :seconds float
UPDATE taskqueue_pruning SET due_at = CASE
    WHEN :seconds::float IS NULL THEN (SELECT min(due_at) FROM taskqueue_pruning WHERE name <> '')
    ELSE greatest(due_at, statement_timestamp() - interval '1 second') + make_interval(secs => :seconds::float)
END
WHERE name = '';
