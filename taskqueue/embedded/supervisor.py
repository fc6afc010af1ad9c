"""The process that owns the PostgreSQL server: it starts the server, and stops it when no process uses it any more.

A script on the standard library alone, in a session of its own: it starts quickly, needs nothing of the environment of
the process that started it, and outlives that process.
"""

import ctypes
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, TypedDict

LOOK_EVERY = 0.1
STOP_TIMEOUT = 60.0
PR_SET_PDEATHSIG = 1


class Arguments(TypedDict):
    """What the supervisor reads as JSON from stdin."""

    initdb: list[str]
    postgres: list[str]
    environment: dict[str, str]
    run_as: dict[str, Any]
    pgdata: str
    unfinished_pgdata: str
    users_lock: str
    server_lock: str
    log: str
    keep_seconds: float


def main() -> None:
    """Exit with 0 when a supervisor is at work from now on, and with 1 when there was one already."""
    arguments: Arguments = json.load(sys.stdin)
    lock = os.open(arguments["server_lock"], os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        sys.exit(1)
    # The caller waits for this process, and not for the child, which has the lock too.
    if os.fork():
        os._exit(0)
    os.umask(0o077)  # The log may quote data.
    write_to(Path(arguments["log"]))
    users_lock = os.open(arguments["users_lock"], os.O_RDWR)
    if make_data(arguments, lock):
        server = start(arguments, lock)
        wait_until_unused(server, users_lock, arguments)
        stop(server)


def write_to(log: Path) -> None:
    if log.exists():
        log.replace(log.with_suffix(".log.1"))
    with log.open("ab") as output:
        for stream in (1, 2):
            os.dup2(output.fileno(), stream)


def make_data(arguments: Arguments, lock: int) -> bool:
    """Run initdb unless that was done before. False when it fails; the log has its words."""
    pgdata, unfinished = Path(arguments["pgdata"]), Path(arguments["unfinished_pgdata"])
    if pgdata.exists():
        return True
    shutil.rmtree(unfinished, ignore_errors=True)  # of an initdb that was killed
    unfinished.mkdir(0o700)
    if run_as := arguments["run_as"]:
        os.chown(unfinished, run_as["user"], run_as["group"])
    # initdb holds the lock too: if this process is killed, no other supervisor starts before initdb has ended.
    done = subprocess.run(  # noqa: S603 - our own program
        arguments["initdb"], check=False, cwd="/", env=arguments["environment"], pass_fds=[lock], **run_as
    )
    if done.returncode == 0:
        unfinished.rename(pgdata)
    return done.returncode == 0


def start(arguments: Arguments, lock: int) -> "subprocess.Popen[bytes]":
    # Each process of a server holds the lock that we hold now, so these files are left from a server that was killed.
    # PostgreSQL takes any process of the same user and number for that server, and refuses to start.
    pgdata = Path(arguments["pgdata"])
    for left in (pgdata / "postmaster.pid", *pgdata.glob(".s.PGSQL.*")):
        left.unlink(missing_ok=True)
    return subprocess.Popen(  # noqa: S603 - our own program
        arguments["postgres"],
        cwd="/",
        env=arguments["environment"],
        pass_fds=[lock],
        start_new_session=True,
        preexec_fn=stop_with_parent,
        **arguments["run_as"],
    )


def stop_with_parent() -> None:
    """Let Linux stop the server when the supervisor is killed. On other systems the server stays, and can be used."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGINT)


def wait_until_unused(server: "subprocess.Popen[bytes]", users_lock: int, arguments: Arguments) -> None:
    """Return when no process has used the server for a while, when it has ended, or when its data is deleted.

    If the server is unused, this process holds the users lock from then on. A process that wants to join waits for
    the lock until the server has stopped, and starts it again.
    """
    unused_since = None
    while server.poll() is None and Path(arguments["users_lock"]).exists():
        try:
            # The kernel releases the lock of a process that is killed.
            fcntl.flock(users_lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            unused_since = None
        else:
            unused_since = unused_since or time.monotonic()
            if time.monotonic() - unused_since >= arguments["keep_seconds"]:
                return
            fcntl.flock(users_lock, fcntl.LOCK_UN)
        time.sleep(LOOK_EVERY)


def stop(server: "subprocess.Popen[bytes]") -> None:
    server.send_signal(signal.SIGINT)  # PostgreSQL's fast shutdown
    try:
        server.wait(STOP_TIMEOUT)
    except subprocess.TimeoutExpired:
        server.send_signal(signal.SIGQUIT)  # its immediate shutdown
        server.wait()


if __name__ == "__main__":
    main()
