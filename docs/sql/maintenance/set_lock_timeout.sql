-- Limit how long statements wait for locks from here on, and return the limit before.
-- Parameters: :lock_timeout text
SELECT before.value FROM (SELECT current_setting('lock_timeout') AS value OFFSET 0) AS before
CROSS JOIN LATERAL (SELECT set_config('lock_timeout', :lock_timeout::text, false), before.value) AS after;
