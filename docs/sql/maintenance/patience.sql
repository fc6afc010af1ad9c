-- Limit how long statements wait for locks from here on, and return the former limit.
-- Parameters: :patience text
SELECT former.value FROM (SELECT current_setting('lock_timeout') AS value OFFSET 0) AS former
CROSS JOIN LATERAL (SELECT set_config('lock_timeout', :patience::text, false), former.value) AS latter;
