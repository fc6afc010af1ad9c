-- Let one transaction at a time work on an event name: one that registers a wait and one that routes an event must see
-- each other.
-- Parameters: :space int, :name text
SELECT pg_advisory_xact_lock(:space::int, hashtext(:name::text));
