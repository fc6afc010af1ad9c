"""What is compared: this project's workers, and the sketch's, each two processes on tables of their own."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Final
from uuid import UUID

from django.db import connection, transaction
from psycopg.conninfo import make_conninfo

from benchmarks import sketch
from benchmarks.figures import Round
from benchmarks.pipelines import first_line, five_steps, hundred_steps, one_step
from benchmarks.process_usage import Cpu
from benchmarks.processes import PROCESSES, started, wait_for, workers
from taskqueue import Pipeline, enqueue_many

PIPELINES: Final[dict[int, Pipeline[[int], Any]]] = {0: first_line, 1: one_step, 5: five_steps, 100: hundred_steps}
"""By their number of steps. The one without steps returns the time of its first line."""
KEYS: Final = 200
"""Different numbers that tasks are enqueued with."""

FORGET_STATISTICS: Final = """
DELETE FROM pg_statistic WHERE starelid = ANY(%(tables)s::regclass[])
    OR starelid IN (SELECT indexrelid FROM pg_index WHERE indrelid = ANY(%(tables)s::regclass[]))
"""
SECONDS: Final = """
SELECT extract(epoch FROM max(finished_at) - min(started_at))::float
FROM (SELECT started_at, finished_at FROM {tasks} ORDER BY id DESC LIMIT %s) AS last
"""
IS_LEFT: Final = "SELECT EXISTS (SELECT FROM {tasks} WHERE status <> 'succeeded')"
ENDED: Final = """
SELECT extract(epoch FROM finished_at - started_at)::float * 1000, result::text
FROM {tasks} WHERE id = %s AND status = 'succeeded'
"""


@dataclass(frozen=True)
class Contender:
    """Workers that run, and how to give them work. Work is named by its number of steps.

    Attributes:
        tables: the first one has the tasks; both contenders call its columns alike.
        pids: the processes of the workers, without their children.
        enqueue: makes a task of so many steps with this number as its payload. Returns its id.
        enqueue_all: makes so many tasks in the transaction of Django's connection.
    """

    tables: tuple[str, ...]
    pids: tuple[int, ...]
    enqueue: Callable[[int, int], UUID]
    enqueue_all: Callable[[int, int], None]

    def drain(self, steps: int, tasks: int, *, is_analyzed: bool) -> Round:
        """Commit so many tasks at once to idle workers. Returns the tasks per second, and the CPU time of each task.

        Args:
            steps: of each task.
            tasks: how many.
            is_analyzed: whether the database knows the tables' statistics; otherwise the tables are emptied before.
        """
        if not is_analyzed:
            self.forget()
        with transaction.atomic():
            self.enqueue_all(steps, tasks)
            if is_analyzed:
                execute(f"ANALYZE {', '.join(self.tables)}")
            before = Cpu.used_by(self.pids)
        wait_for(self.has_ended, seconds=300, every=0.1)
        cpu = Cpu.used_by(self.pids).since(before, units=tasks)
        ((seconds,),) = query(SECONDS.format(tasks=self.tables[0]), [tasks])
        return Round(tasks / seconds, cpu)

    def forget(self) -> None:
        """Make the tables as new: without rows and without statistics."""
        with transaction.atomic():
            execute(FORGET_STATISTICS, {"tables": list(self.tables)})
            execute(f"TRUNCATE {', '.join(self.tables)} CASCADE")

    def has_ended(self) -> bool:
        """Whether all tasks have succeeded."""
        ((is_left,),) = query(IS_LEFT.format(tasks=self.tables[0]))
        return not is_left

    def run(self, steps: int, number: int) -> tuple[float, int]:
        """Execute one task. Returns the milliseconds from its start to its end, and its result."""
        task, statement = self.enqueue(steps, number), ENDED.format(tasks=self.tables[0])
        time.sleep(0.02)  # a look at once would disturb the worker
        wait_for(lambda: query(statement, [task]), seconds=300, every=0.02)
        ((milliseconds, result),) = query(statement, [task])
        return milliseconds, json.loads(result)


@contextmanager
def running() -> Iterator[tuple[Contender, Contender]]:
    """Ours and the sketch, their workers warm and idle, while autovacuum stays away from their tables."""
    with workers() as pid, sketch_workers() as theirs:
        ours = our_workers(pid)
        with warm(ours, theirs):
            yield ours, theirs


@contextmanager
def warm(*contenders: Contender) -> Iterator[None]:
    """Let the workers execute some tasks, and keep autovacuum away from their tables within a with block."""
    with ExitStack() as stack:
        for each in contenders:
            stack.enter_context(without_autovacuum(each.tables))
            each.forget()
            each.drain(1, 200, is_analyzed=True)
        yield


def our_workers(pid: int, pipelines: Mapping[int, Pipeline[[int], Any]] = PIPELINES) -> Contender:
    """The workers of the command with this pid, with a pipeline for each number of steps."""

    def enqueue(steps: int, number: int) -> UUID:
        return pipelines[steps].enqueue(number).pk

    def enqueue_all(steps: int, tasks: int) -> None:
        enqueue_many([pipelines[steps].defer(number % KEYS) for number in range(tasks)])

    return Contender(("taskqueue_task", "taskqueue_step"), (pid,), enqueue, enqueue_all)


@contextmanager
def sketch_workers() -> Iterator[Contender]:
    """Two worker processes of the sketch on this database."""
    conninfo = database()
    command = (sys.executable, "-m", "benchmarks.sketch")
    with sketch.connect(conninfo) as client, ExitStack() as stack:
        sketch.create_tables(client)
        pids = [stack.enter_context(started(*command, SKETCH_DATABASE=conninfo)).pid for _ in range(PROCESSES)]
        wait_for(lambda: sketch.live_workers(client) == PROCESSES)
        yield Contender(
            ("sketch_task", "sketch_step"), tuple(pids), partial(sketch.enqueue, client), enqueue_all_of_sketch
        )


def enqueue_all_of_sketch(steps: int, tasks: int) -> None:
    sketch.enqueue_many(connection.connection, steps, (number % KEYS for number in range(tasks)))


def database() -> str:
    """The database in libpq's words."""
    connection.ensure_connection()
    info = connection.connection.info
    return make_conninfo(**{**info.get_parameters(), "password": info.password or None})


@contextmanager
def without_autovacuum(tables: tuple[str, ...]) -> Iterator[None]:
    """Whether autovacuum analyzes a table in the middle of a measure would be luck."""
    for table in tables:
        execute(f"ALTER TABLE {table} SET (autovacuum_enabled = false)")
    try:
        yield
    finally:
        for table in tables:
            execute(f"ALTER TABLE {table} RESET (autovacuum_enabled)")


def execute(statement: str, parameters: Any = None) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)


def query(statement: str, parameters: Any = None) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        rows: list[tuple[Any, ...]] = cursor.fetchall()
        return rows
