-- Create the watermark.
-- Parameters: :kept interval
INSERT INTO taskqueue_rollupmark (id, final_until, rolled_up_until)
SELECT 1, begin.at, begin.at FROM (
    SELECT date_bin('1 minute', statement_timestamp() - :kept::interval, 'epoch') AS at
) AS begin
WHERE NOT EXISTS (SELECT FROM taskqueue_rollupmark)
ON CONFLICT DO NOTHING;
