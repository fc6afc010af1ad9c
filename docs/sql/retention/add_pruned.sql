-- Count tasks that a command has pruned.
-- Parameters: :name text, :tasks bigint
INSERT INTO taskqueue_pruning AS pruning (name, after, due_at, pruned_at, total)
VALUES (:name::text, '00000000-0000-0000-0000-000000000000', statement_timestamp(), statement_timestamp(),
    :tasks::bigint)
ON CONFLICT (name) DO UPDATE SET total = pruning.total + EXCLUDED.total, pruned_at = EXCLUDED.pruned_at;
