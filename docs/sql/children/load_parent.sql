-- Load the payload of a parallel step's parent.
-- Parameters: :parent uuid
SELECT payload::text FROM taskqueue_task WHERE id = :parent::uuid;
