-- Lock a parent before its child: every transaction locks in this order.
-- Parameters: :task uuid
SELECT id FROM taskqueue_task WHERE id = :task::uuid FOR NO KEY UPDATE;
