-- Lock pruning when it is due, over all workers.
SELECT name FROM taskqueue_pruning WHERE name = '' AND due_at <= statement_timestamp()
FOR NO KEY UPDATE SKIP LOCKED;
