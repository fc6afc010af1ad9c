"""A real PgBouncer in front of the test's database."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psycopg
from django.db import connection

from taskqueue.embedded.account import run_as
from taskqueue.embedded.base import data_directory_of
from taskqueue.embedded.server import address_of
from tests.support.processes.network_namespace import skip_or_fail
from tests.support.processes.processes import free_port, open_directory
from tests.support.waiting import eventually

SEARCH_PATH = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/usr/local/sbin"])


@dataclass(frozen=True)
class Pooler:
    """A running pooler.

    Attributes:
        url: the database through the pooler.
        direct_url: the database without the pooler.
        log: its log file.
    """

    url: str
    direct_url: str
    log: Path


@contextmanager
def pgbouncer(mode: str, *, servers: int = 3) -> Iterator[Pooler]:
    """Run PgBouncer in this mode, with so many server connections for all clients, until the test ends."""
    program = shutil.which("pgbouncer", path=SEARCH_PATH)
    if program is None:
        skip_or_fail("There is no `pgbouncer` command. Install pgbouncer.")
    directory = data_directory_of(connection.settings_dict)
    account, server = run_as(directory.pgdata), address_of(directory)
    name, port = connection.settings_dict["NAME"], free_port()
    with open_directory() as folder:
        (folder / "log").touch()
        (folder / "pgbouncer.ini").write_text(
            f"[databases]\n{name} = host={server['host']} port={server['port']} user={server['user']}\n"
            f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\nauth_type = any\n"
            f"pool_mode = {mode}\ndefault_pool_size = {servers}\nmax_client_conn = 500\nlogfile = {folder / 'log'}\n"
        )
        if account:  # it refuses to run as root
            for path in (folder, folder / "log"):
                os.chown(path, account["user"], account["group"])
        process = subprocess.Popen(
            [program, "-q", str(folder / "pgbouncer.ini")],
            start_new_session=True,
            **account,
        )
        pooler = Pooler(f"postgres://anybody@127.0.0.1:{port}/{name}", direct_url(), folder / "log")
        try:
            eventually(lambda: answers(pooler.url), details=pooler.log.read_text)
            yield pooler
        finally:
            process.kill()
            process.wait()


def direct_url() -> str:
    """The test's database, as a DATABASE_URL."""
    server = address_of(data_directory_of(connection.settings_dict))
    return f"postgres:///{connection.settings_dict['NAME']}?host={server['host']}&port={server['port']}&user={server['user']}"


def answers(url: str) -> bool:
    with suppress(psycopg.OperationalError):
        psycopg.connect(url).close()
        return True
    return False
