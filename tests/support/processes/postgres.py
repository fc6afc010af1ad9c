"""A PostgreSQL server of a test's own, which it may crash."""

import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

import psycopg

from taskqueue.embedded.binaries import find_binaries
from taskqueue.embedded.cluster import ENVIRONMENT, SUPERUSER, prepare_cluster
from taskqueue.embedded.location import Layout
from taskqueue.embedded.owner import find_owner
from tests.support.processes.processes import free_port, open_directory
from tests.support.waiting import eventually


class Server:
    """One data directory, served on one port.

    Args:
        layout: the directory.
        host: the address to listen at.
        settings: of PostgreSQL, as "name=value".
    """

    def __init__(self, layout: Layout, *, host: str = "127.0.0.1", settings: Sequence[str] = ()) -> None:
        self._host = host
        self._settings = settings
        self._layout = layout
        self._owner = find_owner(layout)
        self._binaries = find_binaries(self._owner)
        self.port = free_port()
        self.url = f"postgres://{SUPERUSER}@{host}:{self.port}/postgres"
        with layout.root.joinpath("lock").open("w") as lock:
            prepare_cluster(layout, owner=self._owner, binaries=self._binaries, start_lock=lock.fileno())
        (layout.pgdata / "pg_hba.conf").write_text("host all all 0.0.0.0/0 trust\n")
        self._process = self.start()

    def start(self) -> "subprocess.Popen[bytes]":
        """Start the server, and wait until it answers."""
        own = (f"listen_addresses={self._host}", f"port={self.port}", "unix_socket_directories=")
        options = (*own, *self._settings)
        self._process = subprocess.Popen(
            [self._binaries.path("postgres"), "-D", str(self._layout.pgdata)]
            + [part for option in options for part in ("-c", option)],
            env=ENVIRONMENT,
            cwd="/",
            stderr=subprocess.DEVNULL,
            user=self._owner.uid if self._owner.is_another else None,
            group=self._owner.gid if self._owner.is_another else None,
            extra_groups=[] if self._owner.is_another else None,
            start_new_session=True,
        )
        eventually(self.answers)
        return self._process

    def crash(self) -> None:
        """Stop as after a power cut, without closing anything."""
        self._process.send_signal(signal.SIGQUIT)
        self._process.wait(90)

    def stop_fast(self) -> None:
        """Stop as for an upgrade: sessions are ended, and everything is written down."""
        self._process.send_signal(signal.SIGINT)
        self._process.wait(90)

    def answers(self) -> bool:
        """Whether it takes connections."""
        with suppress(psycopg.OperationalError):
            psycopg.connect(self.url).close()
            return True
        return False

    def do(self, statement: str) -> None:
        """Run a statement, also when the database takes no writes."""
        writing = "-c default_transaction_read_only=off"
        with psycopg.connect(self.url, autocommit=True, options=writing) as session:
            session.execute(statement.encode())

    def ask(self, question: str) -> list[tuple[object, ...]]:
        """The rows of a query."""
        with psycopg.connect(self.url) as session:
            return session.execute(question.encode()).fetchall()


@contextmanager
def own_server(*, host: str = "127.0.0.1", settings: Sequence[str] = ()) -> Iterator[Server]:
    """A server that ends with the test."""
    with open_directory() as folder:
        server = Server(Layout(folder), host=host, settings=settings)
        try:
            yield server
        finally:
            server.crash()
