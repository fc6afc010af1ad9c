"""A PostgreSQL server that a test may crash."""

import os
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import psycopg

from taskqueue.embedded.account import run_as
from taskqueue.embedded.programs import Programs, find_programs
from taskqueue.embedded.server import ENVIRONMENT, SUPERUSER
from tests.support.processes.processes import free_port, open_directory
from tests.support.waiting import eventually


class Server:
    """One data directory, served on one port.

    Args:
        folder: where the data directory is created.
        host: the address to listen at.
        settings: PostgreSQL settings, as "name=value".
        programs: the PostgreSQL to run; the embedded one if None.
    """

    def __init__(
        self,
        folder: Path,
        *,
        host: str = "127.0.0.1",
        settings: Sequence[str] = (),
        programs: Programs | None = None,
    ) -> None:
        self._host = host
        self._settings = settings
        self._pgdata = folder / "data"
        self._run_as = run_as(self._pgdata)
        self._programs = programs or find_programs()
        self.port = free_port()
        self.url = f"postgres://{SUPERUSER}@{host}:{self.port}/postgres"
        self._make_data()
        self._process = self.start()

    def _make_data(self) -> None:
        self._pgdata.mkdir()
        if self._run_as:
            os.chown(self._pgdata, self._run_as["user"], self._run_as["group"])
        # Options that every supported version has: the embedded server's own need PostgreSQL 17.
        options = [f"--username={SUPERUSER}", "--encoding=UTF8", "--locale=C", "--auth=trust", "--no-instructions"]
        command = [self._programs.path("initdb"), *options, "-D", str(self._pgdata)]
        subprocess.run(command, check=True, env=ENVIRONMENT, cwd="/", stdout=subprocess.DEVNULL, **self._run_as)
        (self._pgdata / "pg_hba.conf").write_text("host all all 0.0.0.0/0 trust\n")

    def start(self) -> "subprocess.Popen[bytes]":
        """Start the server, and wait until it answers."""
        own = (f"listen_addresses={self._host}", f"port={self.port}", "unix_socket_directories=")
        options = (*own, *self._settings)
        self._process = subprocess.Popen(
            [self._programs.path("postgres"), "-D", str(self._pgdata)]
            + [part for option in options for part in ("-c", option)],
            env=ENVIRONMENT,
            cwd="/",
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            **self._run_as,
        )
        eventually(self.answers)
        return self._process

    def crash(self) -> None:
        """Stop without closing files, as in a power cut."""
        self._process.send_signal(signal.SIGQUIT)
        self._process.wait(90)

    def stop_fast(self) -> None:
        """Stop with PostgreSQL's fast shutdown: sessions are ended, and all data is written."""
        self._process.send_signal(signal.SIGINT)
        self._process.wait(90)

    def answers(self) -> bool:
        with suppress(psycopg.OperationalError):
            psycopg.connect(self.url).close()
            return True
        return False

    def do(self, statement: str) -> None:
        """Run a statement, even when the database is read-only."""
        writing = "-c default_transaction_read_only=off"
        with psycopg.connect(self.url, autocommit=True, options=writing) as session:
            session.execute(statement.encode())

    def ask(self, question: str) -> list[tuple[object, ...]]:
        with psycopg.connect(self.url) as session:
            return session.execute(question.encode()).fetchall()


@contextmanager
def own_server(
    *, host: str = "127.0.0.1", settings: Sequence[str] = (), programs: Programs | None = None
) -> Iterator[Server]:
    """A server that ends with the test."""
    with open_directory() as folder:
        server = Server(folder, host=host, settings=settings, programs=programs)
        try:
            yield server
        finally:
            server.crash()
