-- List tasks that hold a slot: of the pipeline, or of one concurrency key.
-- Parameters: :pipeline text, :most int, :concurrency_key text
SELECT * FROM (
    SELECT place.id, place.slot_pipeline, place.status, place.slot_acquired_at FROM taskqueue_task place
    WHERE place.slot_pipeline >= :pipeline::text
    ORDER BY place.slot_pipeline, place.concurrency_key LIMIT :most::int
) AS places WHERE :concurrency_key::text IS NULL AND slot_pipeline = :pipeline::text
UNION ALL
SELECT * FROM (
    SELECT place.id, place.slot_pipeline, place.status, place.slot_acquired_at FROM taskqueue_task place
    WHERE place.slot_pipeline IS NOT NULL AND (place.slot_pipeline, place.concurrency_key) >= (:pipeline::text,
        :concurrency_key::text)
    AND (place.slot_pipeline, place.concurrency_key) <= (:pipeline::text, :concurrency_key::text)
    ORDER BY place.slot_pipeline, place.concurrency_key
     LIMIT :most::int
) AS places WHERE :concurrency_key::text IS NOT NULL;
