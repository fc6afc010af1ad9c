"""Statements of tokens: a request passes if its token's rate has room for it, over all processes."""

from __future__ import annotations

from typing import Final

# GCRA on the token's own row, whose lock is waited for: of two requests at once the second counts after the first.
# A request that is refused writes nothing, so asking in vain does not push the next free time away.
COUNT_REQUEST: Final = """
WITH turn AS MATERIALIZED (
    SELECT id, greatest(theoretical_arrival_at, statement_timestamp()) AS theoretical_arrival_at
    FROM taskqueue_token WHERE id = %(token)s::bigint
    FOR NO KEY UPDATE
), passed AS (
    UPDATE taskqueue_token token SET theoretical_arrival_at = turn.theoretical_arrival_at + %(gap)s::interval
    FROM turn
    WHERE token.id = turn.id AND turn.theoretical_arrival_at - %(slack)s::interval <= statement_timestamp()
    RETURNING token.id
)
SELECT CASE WHEN EXISTS (SELECT FROM passed) THEN interval '0'
    ELSE turn.theoretical_arrival_at - %(slack)s::interval - statement_timestamp() END
FROM turn
"""
