-- Record how far a pipeline has been pruned.
-- Parameters: :after uuid, :rest interval, :tasks bigint, :name text
UPDATE taskqueue_pruning
SET after = :after::uuid, due_at = statement_timestamp() + :rest::interval, total = total + :tasks::bigint,
    pruned_at = CASE WHEN :tasks::bigint > 0 THEN statement_timestamp() ELSE pruned_at END
WHERE name = :name::text;
