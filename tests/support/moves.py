"""The tests' database refuses every change of a task's status that `states.TRANSITIONS` does not list.

So each test watches the moves of the engine, those of real worker processes included.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import connection, transaction

from taskqueue.states import TRANSITIONS

LEGAL = ", ".join(f"'{source} {target}'" for source in TRANSITIONS for target in sorted(TRANSITIONS[source]))
# The condition is part of the trigger, so that a legal move calls no function.
WATCH_MOVES = f"""
CREATE FUNCTION tests_refuse_move() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF current_setting('tests.arranging', true) = 'yes' THEN
        RETURN NULL;
    END IF;
    RAISE EXCEPTION 'states.TRANSITIONS has no move from % to %', OLD.status, NEW.status
        USING HINT = 'A test that needs it to begin with says so: with arranging(): ...';
END
$$;
CREATE TRIGGER tests_moves AFTER UPDATE OF status ON taskqueue_task
FOR EACH ROW WHEN (OLD.status <> NEW.status AND OLD.status || ' ' || NEW.status <> ALL (ARRAY[{LEGAL}]))
EXECUTE FUNCTION tests_refuse_move();
"""
ARRANGE = "SET LOCAL tests.arranging = 'yes'"


@contextmanager
def arranging() -> Iterator[None]:
    """Let this connection put tasks into any status, for a test that begins in the middle of a task's life."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(ARRANGE)
        yield
        cursor.execute("SET LOCAL tests.arranging = 'no'")
