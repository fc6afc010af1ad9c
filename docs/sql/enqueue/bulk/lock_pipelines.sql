-- Admit one bulk request at a time, for pipelines with singletons or debounce.
-- Parameters: :space int, :pipelines text[]
SELECT pg_advisory_xact_lock(:space::int, hashtext(pipeline))
FROM unnest(:pipelines::text[]) AS wanted (pipeline) ORDER BY hashtext(pipeline);
