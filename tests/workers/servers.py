"""A PostgreSQL server of a test's own, which it may crash."""

import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import psycopg

from taskqueue.embedded.binaries import find_binaries
from taskqueue.embedded.cluster import ENVIRONMENT, SUPERUSER, prepare_cluster
from taskqueue.embedded.location import Layout
from taskqueue.embedded.owner import find_owner
from tests.house.processes import eventually, free_port, open_directory


class Server:
    """One data directory, served on one port."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._owner = find_owner(layout)
        self._binaries = find_binaries(self._owner)
        self._port = free_port()
        self.url = f"postgres://{SUPERUSER}@127.0.0.1:{self._port}/postgres"
        with layout.root.joinpath("lock").open("w") as lock:
            prepare_cluster(layout, owner=self._owner, binaries=self._binaries, start_lock=lock.fileno())
        (layout.pgdata / "pg_hba.conf").write_text("host all all 127.0.0.1/32 trust\n")
        self._process = self.start()

    def start(self) -> "subprocess.Popen[bytes]":
        """Start the server, and wait until it answers."""
        options = ("listen_addresses=127.0.0.1", f"port={self._port}", "unix_socket_directories=")
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
        eventually(self.answers, within=30)
        return self._process

    def crash(self) -> None:
        """Stop as after a power cut, without closing anything."""
        self._process.send_signal(signal.SIGQUIT)
        self._process.wait(30)

    def answers(self) -> bool:
        """Whether it takes connections."""
        with suppress(psycopg.OperationalError):
            psycopg.connect(self.url).close()
            return True
        return False

    def ask(self, question: str) -> list[tuple[object, ...]]:
        """The rows of a query."""
        with psycopg.connect(self.url) as session:
            return session.execute(question.encode()).fetchall()


@contextmanager
def own_server() -> Iterator[Server]:
    """A server that ends with the test."""
    with open_directory() as folder:
        server = Server(Layout(folder))
        try:
            yield server
        finally:
            server.crash()
