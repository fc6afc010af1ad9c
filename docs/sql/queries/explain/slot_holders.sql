-- List tasks that hold a slot: of the pipeline, or of one concurrency key.
-- Parameters: :pipeline text, :most int, :concurrency_key text
SELECT * FROM (
    SELECT slot.id, slot.slot_pipeline, slot.status, slot.slot_acquired_at FROM taskqueue_task slot
    WHERE slot.slot_pipeline >= :pipeline::text
    ORDER BY slot.slot_pipeline, slot.concurrency_key LIMIT :most::int
) AS slots WHERE :concurrency_key::text IS NULL AND slot_pipeline = :pipeline::text
UNION ALL
SELECT * FROM (
    SELECT slot.id, slot.slot_pipeline, slot.status, slot.slot_acquired_at FROM taskqueue_task slot
    WHERE slot.slot_pipeline IS NOT NULL AND (slot.slot_pipeline, slot.concurrency_key) >= (:pipeline::text,
        :concurrency_key::text)
    AND (slot.slot_pipeline, slot.concurrency_key) <= (:pipeline::text, :concurrency_key::text)
    ORDER BY slot.slot_pipeline, slot.concurrency_key
     LIMIT :most::int
) AS slots WHERE :concurrency_key::text IS NOT NULL;
