-- Notify the workers. In a transaction of its own after the caller's: NOTIFY takes a lock on the whole server until it
-- commits. A notification may be lost, so it need not wait for the disk.
-- Parameters: :channel text
SELECT set_config('synchronous_commit', 'off', true), pg_notify(:channel::text, '');
