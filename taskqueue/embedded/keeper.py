"""The process that starts PostgreSQL, waits until its last user has left, and stops it.

A script on the standard library alone, in a session of its own: it starts quickly, needs nothing of the environment
that started it, and outlives that process however it ends.
"""

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from enum import Enum, auto
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread
from typing import NamedTuple, TypedDict

FAST_SHUTDOWN = signal.SIGINT
IMMEDIATE_SHUTDOWN = signal.SIGQUIT
STOP_SECONDS = 60.0
SOCKET_NAME = ".s.PGSQL.5432"


class Orders(TypedDict):
    """What a keeper is told, as JSON in its only argument."""

    command: list[str]
    environment: dict[str, str]
    pgdata: str
    users_lock: str
    keeper_lock: str
    server_lock: str
    log: str
    socket_directory: str
    grace_seconds: float
    uid: int | None
    gid: int | None


class Postmaster(NamedTuple):
    """A living server, as its postmaster.pid tells."""

    pid: int
    socket_directory: str
    status: str

    @property
    def is_ready(self) -> bool:
        return self.status == "ready"


class Ending(Enum):
    """Why a keeper's watch is over."""

    UNUSED = auto()
    SERVER_GONE = auto()
    DIRECTORY_GONE = auto()
    TOLD = auto()


def main() -> None:
    """Answer "ready", "busy" or "failed" on stdout; then close it, and keep the server."""
    orders: Orders = json.loads(sys.argv[1])
    # The parent is reaped at once by whoever called us; the child belongs to nobody and leaves no zombie there.
    if os.fork():
        os._exit(0)
    os.umask(0o077)  # The log may quote data.
    try:
        keep(orders)
    finally:
        os._exit(0)


def keep(orders: Orders) -> None:
    """Start or adopt the server, and stop it when its time has come."""
    keeper_lock = os.open(orders["keeper_lock"], os.O_RDWR)
    try:
        fcntl.flock(keeper_lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        # Another keeper is starting or stopping the server, or somebody just looks whether there is one.
        answer("busy")
        return
    # Opened before the server starts: if the directory is replaced from now on, these are two different files.
    users_lock = os.open(orders["users_lock"], os.O_RDWR)
    server = adopt(orders) or start(orders)
    if server is None:
        answer("failed")
        return
    answer("ready")
    inbox = open_inbox(users_lock, orders)
    ending = wait_for_ending(server, users_lock, orders, inbox)
    close(server, ending, orders)


def answer(word: str) -> None:
    """Tell whoever launched us, who may be dead by now; and let go of the pipe."""
    # If that one was killed while it waited, the server has no user, and stops after the grace.
    with suppress(BrokenPipeError):
        os.write(1, word.encode())
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nowhere, stream)


class Server:
    """A PostgreSQL server: our own child, or one that a killed keeper left behind."""

    def __init__(self, pgdata: str, pid: int, process: "subprocess.Popen[bytes] | None" = None) -> None:
        self.pgdata = pgdata
        self.pid = pid
        self.process = process

    def is_running(self) -> bool:
        if self.process is not None:
            return self.process.poll() is None
        postmaster = find_postmaster(self.pgdata)
        return postmaster is not None and postmaster.pid == self.pid

    def send(self, number: signal.Signals) -> None:
        if self.process is not None:
            self.process.send_signal(number)
        elif self.is_running():
            os.kill(self.pid, number)

    def wait(self, seconds: float) -> bool:
        """True when the server has ended within this time."""
        deadline = time.monotonic() + seconds
        while self.is_running():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.02)
        return True


def adopt(orders: Orders) -> Server | None:
    """The server that runs on this directory without a keeper, once it is ready; None when there is none."""
    while postmaster := find_postmaster(orders["pgdata"]):
        if postmaster.is_ready:
            return Server(orders["pgdata"], postmaster.pid)
        time.sleep(
            0.05
        )  # It is starting, or a keeper died while stopping it: the one ends as ready, the other as gone.
    return None


def start(orders: Orders) -> Server | None:
    """Start a server and wait until it takes connections; None when it ended instead."""
    # Every process of a server holds this lock. So this waits for those that a killed one left, which are about to
    # end, and for a server in another container, whose pids mean nothing here.
    server_lock = os.open(orders["server_lock"], os.O_RDWR)
    fcntl.flock(server_lock, fcntl.LOCK_EX)
    forget_stale_pids(orders)
    process = spawn(orders, server_lock)
    os.close(server_lock)
    server = Server(orders["pgdata"], process.pid, process)
    # No deadline: a recovery takes as long as it takes. Whoever waits for our answer has one.
    while server.is_running():
        postmaster = find_postmaster(orders["pgdata"])
        if postmaster is not None and postmaster.pid == process.pid and postmaster.is_ready:
            return server
        time.sleep(0.02)
    return None


def spawn(orders: Orders, server_lock: int) -> "subprocess.Popen[bytes]":
    log = Path(orders["log"])
    if log.exists():
        log.replace(log.with_suffix(".log.1"))
    with log.open("ab") as output:
        return subprocess.Popen(  # noqa: S603 - the server's own binary and our options
            orders["command"],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd="/",
            env=orders["environment"],
            user=orders["uid"],
            group=orders["gid"],
            extra_groups=None if orders["uid"] is None else [],
            start_new_session=True,
            pass_fds=[server_lock],
        )


def forget_stale_pids(orders: Orders) -> None:
    """Remove the pid files of a server that is gone.

    PostgreSQL would do so itself, but must take any living process of the same user and number for that server, and
    small numbers come again when a container starts anew. The caller holds the server lock, so it is none of ours.
    """
    pgdata = orders["pgdata"]
    if find_postmaster(pgdata) is None:
        Path(pgdata, "postmaster.pid").unlink(missing_ok=True)
    socket_lock = Path(orders["socket_directory"], f"{SOCKET_NAME}.lock")
    pid = read_pid(socket_lock)
    # Unless it is the server of a directory deleted a moment ago: that one will remove its socket when it ends.
    if pid is not None and not (is_alive(pid) and worked_in(pid, pgdata)):
        socket_lock.unlink(missing_ok=True)


def read_pid(path: Path) -> int | None:
    try:
        return int(path.read_text().split("\n", 1)[0])
    except (FileNotFoundError, ValueError):
        return None


def worked_in(pid: int, pgdata: str) -> bool:
    try:
        return str(Path(f"/proc/{pid}/cwd").readlink()).removesuffix(" (deleted)") == os.path.realpath(pgdata)
    except OSError:
        return False


def find_postmaster(pgdata: str) -> Postmaster | None:
    """The living server of this directory; None when there is none, whatever its pid file says."""
    path = Path(pgdata, "postmaster.pid")
    pid = read_pid(path)
    if pid is None or not is_alive(pid) or not works_in(pid, pgdata):
        return None
    try:
        lines = path.read_text().split("\n")
    except FileNotFoundError:
        return None  # It ended between the two looks.
    lines += [""] * (8 - len(lines))
    return Postmaster(pid, lines[4], lines[7].strip())


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def works_in(pid: int, pgdata: str) -> bool:
    """Whether this process works in the directory, as a server does; a zombie or a stranger does not."""
    if not Path("/proc/self/cwd").exists():
        return True  # No /proc on this system: the pid has to do.
    try:
        return Path(f"/proc/{pid}/cwd").samefile(pgdata)
    except OSError:
        return False


def open_inbox(users_lock: int, orders: Orders) -> "SimpleQueue[Ending]":
    inbox: SimpleQueue[Ending] = SimpleQueue()
    signal.signal(signal.SIGTERM, lambda *_: inbox.put(Ending.TOLD))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    Thread(target=watch_users, args=(users_lock, orders["grace_seconds"], inbox), daemon=True).start()
    return inbox


def watch_users(users_lock: int, grace_seconds: float, inbox: "SimpleQueue[Ending]") -> None:
    """Report once nobody has used the server for the grace; from then on, hold the lock against newcomers.

    Every user holds the lock shared, so the kernel counts them, and forgets one that is killed.
    """
    while True:
        fcntl.flock(users_lock, fcntl.LOCK_EX)
        # Let go during the grace, so that a newcomer finds the server running.
        fcntl.flock(users_lock, fcntl.LOCK_UN)
        time.sleep(grace_seconds)
        try:
            # A newcomer either has its share by now, and we wait on; or it gets it when we have exited, with the
            # server stopped, and starts it anew. It never connects to a server that is being stopped.
            fcntl.flock(users_lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            continue
        inbox.put(Ending.UNUSED)
        return


def wait_for_ending(server: Server, users_lock: int, orders: Orders, inbox: "SimpleQueue[Ending]") -> Ending:
    while True:
        try:
            return inbox.get(timeout=0.5)
        except Empty:
            if not server.is_running():
                return Ending.SERVER_GONE
            if not is_same_file(users_lock, orders["users_lock"]):
                return Ending.DIRECTORY_GONE


def is_same_file(descriptor: int, path: str) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), Path(path).stat())
    except OSError:
        return False


def close(server: Server, ending: Ending, orders: Orders) -> None:
    if ending is Ending.DIRECTORY_GONE:
        # The data is deleted, and another server may already run in its place: nothing is worth writing.
        server.send(IMMEDIATE_SHUTDOWN)
        server.wait(STOP_SECONDS)
        return
    server.send(FAST_SHUTDOWN)
    if not server.wait(STOP_SECONDS):
        server.send(IMMEDIATE_SHUTDOWN)
        server.wait(STOP_SECONDS)
    if ending is Ending.UNUSED:
        remove_socket_directory(orders["socket_directory"])


def remove_socket_directory(path: str) -> None:
    """Leave nothing in /tmp. Nobody can be about to use it: starters hold a share of the lock that we hold whole."""
    # It may be gone already, or hold what is not ours.
    with suppress(OSError):
        Path(path).rmdir()


if __name__ == "__main__":
    main()
