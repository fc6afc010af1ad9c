-- Lock an event name: a transaction that registers a wait and one that routes an event must see each other.
-- Parameters: :space int, :name text
SELECT pg_advisory_xact_lock(:space::int, hashtext(:name::text));
