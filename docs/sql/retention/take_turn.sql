-- Lock the right to prune, when it is time. The time moves on with what has been pruned, over all workers.
SELECT name FROM taskqueue_pruning WHERE name = '' AND due_at <= statement_timestamp()
FOR NO KEY UPDATE SKIP LOCKED;
