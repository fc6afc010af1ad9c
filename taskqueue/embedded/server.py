"""Finding the running server of a data directory, or starting it."""

import json
import os
import subprocess
import sys
import time
from collections import deque
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Literal

from django.db import OperationalError

from taskqueue.embedded import keeper
from taskqueue.embedded.binaries import Binaries, find_binaries
from taskqueue.embedded.cluster import ENVIRONMENT, prepare_cluster
from taskqueue.embedded.keeper import SOCKET_NAME, Orders, Postmaster, find_postmaster
from taskqueue.embedded.location import Layout
from taskqueue.embedded.locks import Share, hold, is_held, open_lock, share
from taskqueue.embedded.owner import Owner, find_owner, make_directory, make_private_directory

START_PATIENCE = timedelta(seconds=60)
PORT = "5432"  # No port, but part of the socket's name.
SERVER_SETTINGS = {
    "listen_addresses": "",
    "port": PORT,
    "unix_socket_permissions": "0700",
    "max_connections": "100",
    "shared_buffers": "128MB",
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "lc_messages": "C",
    "logging_collector": "off",
    "log_destination": "stderr",
    "log_line_prefix": "%m [%p] ",
}
Answer = Literal["ready", "busy", "failed"]

# By data directory: our share of its users lock, held from the first connection until this process and all that it
# has forked have ended. It is never released by hand, so nothing can forget to.
_shares: dict[Path, Share] = {}


@dataclass(frozen=True)
class Embedded:
    """What the settings ask for."""

    data_directory: Path
    grace: timedelta


def find_server(embedded: Embedded) -> Postmaster:
    """The ready server of this data directory, which from now on runs at least as long as this process.

    Starts it when there is none. Raises ImproperlyConfigured or OperationalError, saying what to do about it.
    """
    layout = Layout(embedded.data_directory)
    try:
        join_users(layout)
        return find_kept(layout) or start(layout, grace=embedded.grace)
    except PermissionError as error:
        raise OperationalError(
            f"{error}. The embedded PostgreSQL keeps its data in {layout.root}, which belongs to another user. Run "
            'this as that user, or choose another directory in DATABASES["default"]["EMBEDDED"]["data_dir"].'
        ) from error


def join_users(layout: Layout) -> None:
    """Hold a share of the users lock. While a keeper stops the server, this waits until it has."""
    held = _shares.get(layout.root)
    if held is not None:
        if held.is_of(layout.users_lock):
            return
        # The data directory was deleted under us. Leave the old server, so that its keeper can end.
        if _shares.pop(layout.root, None) is not None:  # None: another thread was faster.
            held.release()
    if not layout.root.exists():
        # Others need to pass (not to list) only where the server runs as somebody else.
        owner = find_owner(layout)
        make_directory(layout.root, mode=0o711 if owner.is_another else 0o700)
    taken = share(layout.users_lock)
    if _shares.setdefault(layout.root, taken) is not taken:
        taken.release()  # Another thread was faster.


def find_kept(layout: Layout) -> Postmaster | None:
    """The server if it is ready and a keeper looks after it."""
    postmaster = find_postmaster(str(layout.pgdata))
    if postmaster is None or not postmaster.is_ready or not is_held(layout.keeper_lock):
        return None
    return postmaster


def start(layout: Layout, *, grace: timedelta) -> Postmaster:
    with hold(layout.start_lock) as start_lock:
        deadline = time.monotonic() + START_PATIENCE.total_seconds()
        while True:
            # Whoever held the start lock before us may have done it all.
            if postmaster := find_kept(layout):
                return postmaster
            owner = find_owner(layout)
            binaries = find_binaries(owner)
            prepare_cluster(layout, owner=owner, binaries=binaries, start_lock=start_lock)
            make_private_directory(layout.socket_directory, owner=owner)
            answer = launch_keeper(give_orders(layout, owner=owner, binaries=binaries, grace=grace))
            if answer == "failed" and not is_passing(layout):
                raise OperationalError(f"The embedded PostgreSQL did not start. {show_log(layout)}")
            if answer != "ready" and time.monotonic() > deadline:
                raise OperationalError(
                    f"The embedded PostgreSQL is not ready after {START_PATIENCE}. {show_log(layout)}"
                )
            if answer != "ready":
                time.sleep(0.05)


def give_orders(layout: Layout, *, owner: Owner, binaries: Binaries, grace: timedelta) -> Orders:
    for lock in (layout.keeper_lock, layout.server_lock):
        os.close(open_lock(lock))  # It makes the file.
    settings = {**SERVER_SETTINGS, "unix_socket_directories": str(layout.socket_directory)}
    options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
    return Orders(
        command=[binaries.path("postgres"), "-D", str(layout.pgdata), *options],
        environment=ENVIRONMENT,
        pgdata=str(layout.pgdata),
        users_lock=str(layout.users_lock),
        keeper_lock=str(layout.keeper_lock),
        server_lock=str(layout.server_lock),
        log=str(layout.log),
        socket_directory=str(layout.socket_directory),
        grace_seconds=grace.total_seconds(),
        uid=owner.uid if owner.is_another else None,
        gid=owner.gid if owner.is_another else None,
    )


def launch_keeper(orders: Orders) -> Answer:
    """Start a keeper in a session of its own, and wait for its word."""
    try:
        launched = subprocess.run(  # noqa: S603 - this very Python and our own script
            # Isolated and without site-packages: nothing of this project or environment can slow or break it.
            [sys.executable, "-I", "-S", keeper.__file__, json.dumps(orders)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            check=False,
            cwd="/",
            text=True,
            start_new_session=True,
            timeout=START_PATIENCE.total_seconds(),
        )
    except subprocess.TimeoutExpired:
        # It goes on, and later processes will find the server when its recovery is done.
        return "busy"
    match launched.stdout:
        case "ready" | "busy" as word:
            return word
        case _:
            return "failed"


def is_passing(layout: Layout) -> bool:
    """Whether only the server of a deleted data directory is in the way, which ends as soon as its keeper looks."""
    return f'{SOCKET_NAME}.lock" already exists' in read_log(layout)


def show_log(layout: Layout) -> str:
    return f"Its log, {layout.log}, ends with:\n{read_log(layout)}\nMend the cause, or set DATABASE_URL."


def read_log(layout: Layout) -> str:
    try:
        with layout.log.open(errors="replace") as lines:
            return "".join(deque(lines, maxlen=20)).rstrip()
    except FileNotFoundError:
        return "(there is none)"
