"""The durable commits per second of this database at this moment."""

from __future__ import annotations

import threading
import time

import psycopg

from taskqueue.engine.worker.heartbeat_thread import private_connection


def commits_per_second(*, clients: int, seconds: float = 0.7) -> float:
    """One-row inserts, each a commit that waits for the disk, by so many connections at once."""
    counts = [0] * clients
    deadline = time.monotonic() + seconds

    def commit(client: int) -> None:
        with private_connection() as connection:
            cursor = psycopg.Cursor(connection)
            while time.monotonic() < deadline:
                cursor.execute("INSERT INTO benchmarks_commit VALUES (1)", prepare=True)
                counts[client] += 1

    with private_connection() as connection:
        connection.execute("DROP TABLE IF EXISTS benchmarks_commit")
        connection.execute("CREATE TABLE benchmarks_commit (number int)")
    threads = [threading.Thread(target=commit, args=(client,)) for client in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counts) / seconds
