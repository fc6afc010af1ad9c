"""Joining the server of a data directory, or starting it."""

import fcntl
import json
import os
import subprocess
import sys
import time
from collections import deque

from django.core.exceptions import ImproperlyConfigured
from django.db import OperationalError
from psycopg import pq
from psycopg.conninfo import make_conninfo

from taskqueue.embedded import supervisor
from taskqueue.embedded.account import run_as
from taskqueue.embedded.data_directory import PORT, DataDirectory, make_directory
from taskqueue.embedded.programs import Programs, find_programs
from taskqueue.embedded.supervisor import Arguments

KEEP_SECONDS = 5.0
"""How long an unused server runs on, so that commands that follow each other find it running."""
START_TIMEOUT = 120
SUPERUSER = "postgres"
# The environment of every PostgreSQL program: messages, sorting and times do not depend on the machine.
ENVIRONMENT = {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}
INITDB_OPTIONS = [
    f"--username={SUPERUSER}",
    "--encoding=UTF8",
    # PostgreSQL's own locale: the same order on every machine, whatever its C library.
    "--locale-provider=builtin",
    "--builtin-locale=C.UTF-8",
    "--locale=C",
    "--text-search-config=simple",
    # Only the server's user and root can reach the socket, and they can read the files anyway.
    "--auth-local=trust",
    "--auth-host=reject",
    "--no-instructions",
]

# The descriptors of the users locks that this process holds. They are never closed here: the kernel closes them when
# this process and its forked children have ended. Two threads may both open one, which does no harm.
_joined: dict[DataDirectory, int] = {}


def address_of(directory: DataDirectory) -> dict[str, str]:
    """Return where the server listens, in libpq's words."""
    return {"host": str(directory.pgdata), "port": PORT, "user": SUPERUSER}


def ensure_running(directory: DataDirectory) -> None:
    """Let the server run at least as long as this process, and start it when there is none.

    Raises:
        ImproperlyConfigured: the settings, the data or the wheel do not allow it.
        OperationalError: the server does not start.
    """
    try:
        join(directory)
        if not directory.socket.exists():
            start(directory)
    except PermissionError as error:
        raise OperationalError(
            f"{error}. The embedded PostgreSQL keeps its data in {directory.root}, which belongs to another user. Run "
            'this as that user, or choose another directory in DATABASES["default"]["EMBEDDED"]["data_dir"].'
        ) from error


def join(directory: DataDirectory) -> None:
    """Hold the users lock shared. While the supervisor stops the server, this waits."""
    held = _joined.get(directory)
    # A process that becomes a daemon closes its descriptors; and the data directory may have been deleted.
    if held is None or not is_open(held, directory):
        make_directory(directory.root)
        descriptor = os.open(directory.users_lock, os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        _joined[directory] = descriptor


def is_open(descriptor: int, directory: DataDirectory) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), directory.users_lock.stat())
    except OSError:
        return False


def start(directory: DataDirectory) -> None:
    """Return when the server takes connections. This process or another one starts it."""
    deadline = time.monotonic() + START_TIMEOUT
    launched = False
    while not answers(directory):
        if not is_locked(directory):
            if launched:
                raise OperationalError(f"The embedded PostgreSQL did not start. {log_of(directory)}")
            launched = launch_supervisor(directory)
        if time.monotonic() > deadline:
            raise OperationalError(f"The embedded PostgreSQL is not ready after {START_TIMEOUT} s. {log_of(directory)}")
        time.sleep(0.02)


def check_data(directory: DataDirectory, programs: Programs) -> None:
    if not directory.allows_a_socket:
        raise ImproperlyConfigured(
            f"The path {directory.root} is too long for the server's socket, or has a comma. Choose another directory "
            'in DATABASES["default"]["EMBEDDED"]["data_dir"].'
        )
    version_file = directory.pgdata / "PG_VERSION"
    made_by = version_file.read_text().strip() if version_file.exists() else None
    if made_by not in {None, str(programs.major_version)}:
        raise ImproperlyConfigured(
            f"The database in {directory.root} was made by PostgreSQL {made_by}, but {programs.major_version} is "
            "installed. Install the version of django-durable-taskqueue[embedded] that made it and move the data with "
            f"pg_dump; or delete {directory.root} to start without the data; or set DATABASE_URL."
        )


def answers(directory: DataDirectory) -> bool:
    """Whether the server takes connections. It does not while it starts, recovers or stops."""
    return pq.PGconn.ping(make_conninfo(**address_of(directory)).encode()) == pq.Ping.OK


def is_locked(directory: DataDirectory) -> bool:
    """Whether a supervisor, or a server that is about to end, is at work."""
    descriptor = os.open(directory.server_lock, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    else:
        # Closing is not enough: a child that another thread forks at this moment has a copy of the descriptor.
        fcntl.flock(descriptor, fcntl.LOCK_UN)
        return False
    finally:
        os.close(descriptor)


def launch_supervisor(directory: DataDirectory) -> bool:
    """Start a supervisor. False when another process was faster."""
    programs = find_programs()
    check_data(directory, programs)
    arguments = Arguments(
        initdb=[programs.path("initdb"), *INITDB_OPTIONS, "--pgdata", str(directory.unfinished_pgdata)],
        postgres=postgres_command(directory, programs),
        environment=ENVIRONMENT,
        run_as=run_as(directory.pgdata),
        pgdata=str(directory.pgdata),
        unfinished_pgdata=str(directory.unfinished_pgdata),
        users_lock=str(directory.users_lock),
        server_lock=str(directory.server_lock),
        log=str(directory.log),
        keep_seconds=KEEP_SECONDS,
    )
    launched = subprocess.run(  # noqa: S603 - this Python and our own script
        # Isolated and without site-packages: nothing of this project or environment can slow or break it.
        # The directory is an argument only so that `ps` shows it.
        [sys.executable, "-I", "-S", supervisor.__file__, str(directory.root)],
        input=json.dumps(arguments),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=False,
        cwd="/",
        text=True,
        start_new_session=True,
    )
    return launched.returncode == 0


def postgres_command(directory: DataDirectory, programs: Programs) -> list[str]:
    quoted = str(directory.pgdata).replace('"', '""')
    settings = {"listen_addresses": "", "port": PORT, "unix_socket_directories": f'"{quoted}"', "jit": "off"}
    options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
    return [programs.path("postgres"), "-D", str(directory.pgdata), *options]


def log_of(directory: DataDirectory) -> str:
    try:
        with directory.log.open(errors="replace") as lines:
            end = "".join(deque(lines, maxlen=20)).rstrip()
    except FileNotFoundError:
        end = "(there is none)"
    return (
        f"Its log, {directory.log}, ends with:\n{end}\nCorrect the cause, choose another directory in "
        'DATABASES["default"]["EMBEDDED"]["data_dir"], or set DATABASE_URL.'
    )
