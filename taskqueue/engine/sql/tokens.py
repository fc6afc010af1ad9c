"""The rate limit of an API token, over all processes."""

from __future__ import annotations

from typing import Final

# Count a request of a token, and return how long it must wait: not at all if it passes. GCRA on the token's own row: of
# two requests at once the second waits for the first one's lock and counts after it. A refused request writes nothing,
# so it does not push the next free time away.
COUNT_REQUEST: Final = """
WITH token_row AS MATERIALIZED (
    SELECT id, greatest(theoretical_arrival_at, statement_timestamp()) AS theoretical_arrival_at
    FROM taskqueue_token WHERE id = %(token)s::bigint
    FOR NO KEY UPDATE
), passed AS (
    UPDATE taskqueue_token token SET theoretical_arrival_at = token_row.theoretical_arrival_at + %(gap)s::interval
    FROM token_row
    WHERE token.id = token_row.id AND token_row.theoretical_arrival_at - %(slack)s::interval <= statement_timestamp()
    RETURNING token.id
)
SELECT CASE WHEN EXISTS (SELECT FROM passed) THEN interval '0'
    ELSE token_row.theoretical_arrival_at - %(slack)s::interval - statement_timestamp() END
FROM token_row
"""
