"""What processes use: CPU time, memory and connections."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass

import psutil
from django.db import connection

CONNECTIONS = """
SELECT count(*) FROM pg_stat_activity
WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()
"""


@dataclass(frozen=True)
class Cpu:
    """CPU milliseconds of our processes, and of the PostgreSQL server; the server's are NaN on another machine."""

    processes: float
    server: float

    @classmethod
    def used_by(cls, pids: Iterable[int]) -> Cpu:
        """What these processes and the server, all with their children, have used since their start."""
        return cls(sum(milliseconds(psutil.Process(pid)) for pid in pids), server_milliseconds())

    @classmethod
    def mean(cls, values: Sequence[Cpu]) -> Cpu:
        """The mean, since the kernel counts in steps of ten milliseconds."""
        return cls(statistics.mean(each.processes for each in values), statistics.mean(each.server for each in values))

    @property
    def total(self) -> float:
        return self.processes + self.server

    def since(self, before: Cpu, *, units: int) -> Cpu:
        """What was used after another moment, for each of so many units of work."""
        return Cpu((self.processes - before.processes) / units, (self.server - before.server) / units)


def milliseconds(process: psutil.Process) -> float:
    """CPU time of a process and of its children, those that have ended included."""
    total = 0.0
    for each in (process, *process.children(recursive=True)):
        with suppress(psutil.NoSuchProcess):  # it has ended just now
            times = each.cpu_times()
            total += times.user + times.system + times.children_user + times.children_system
    return total * 1000


def server_milliseconds() -> float:
    """CPU time of all processes of the server."""
    postmaster = server_process()
    return math.nan if postmaster is None else milliseconds(postmaster)


def server_process() -> psutil.Process | None:
    """The server's first process; None when the server runs on another machine."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        (pid,) = cursor.fetchone()
    try:
        backend = psutil.Process(pid)
        return backend.parent() if "postgres" in backend.name() else None
    except psutil.NoSuchProcess:
        return None


def mebibytes(pids: Iterable[int]) -> list[float]:
    """The memory of each of these processes: of what they share with others, each one's part."""
    return [memory / 1024 / 1024 for memory in map(memory_of, map(psutil.Process, pids))]


def memory_of(process: psutil.Process) -> int:
    memory = process.memory_full_info()
    return int(getattr(memory, "pss", memory.uss))  # only Linux knows each one's part


def family(pid: int) -> list[int]:
    """A process and all that it has started."""
    process = psutil.Process(pid)
    return [each.pid for each in (process, *process.children(recursive=True))]


def connections() -> int:
    """The connections to the database, without this one."""
    with connection.cursor() as cursor:
        cursor.execute(CONNECTIONS)
        (number,) = cursor.fetchone()
    return int(number)
