"""Where an embedded server keeps its data, its locks and its socket."""

import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path

from taskqueue.embedded.keeper import SOCKET_NAME

SYSTEM_DIRECTORY = Path("/var/lib/taskqueue")
# The shortest limit of the systems we run on (macOS: 104 bytes with the ending NUL).
LONGEST_SOCKET_PATH = 103
# A comma would be a list of hosts to libpq, a space needs quoting in PostgreSQL's settings.
PLAIN_PATH = re.compile(r"/[A-Za-z0-9/._-]*")


def data_directory(project: Path) -> Path:
    """The data directory of the project at this path: outside the checkout, the same from every process.

    Root gets one below /var/lib, because PostgreSQL refuses to run as root, and the user that it runs as instead
    could not enter root's home.
    """
    project = project.resolve()
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", project.name).strip("-.")[:40] or "project"
    return data_home() / f"{name}-{digest(project)}"


def data_home() -> Path:
    if os.geteuid() == 0:
        return SYSTEM_DIRECTORY
    home = os.environ.get("XDG_DATA_HOME", "")
    # The XDG specification says to ignore a relative one.
    return (Path(home) if home.startswith("/") else Path.home() / ".local" / "share") / "taskqueue"


def digest(path: Path) -> str:
    return hashlib.sha256(os.fsencode(path)).hexdigest()[:10]


@dataclass(frozen=True)
class Layout:
    """The files of one data directory."""

    root: Path

    @property
    def pgdata(self) -> Path:
        return self.root / "postgres"

    @property
    def unfinished_pgdata(self) -> Path:
        return self.root / "postgres.new"

    @property
    def users_lock(self) -> Path:
        return self.root / "users.lock"

    @property
    def start_lock(self) -> Path:
        return self.root / "start.lock"

    @property
    def keeper_lock(self) -> Path:
        return self.root / "keeper.lock"

    @property
    def server_lock(self) -> Path:
        return self.root / "server.lock"

    @property
    def log(self) -> Path:
        return self.root / "server.log"

    @property
    def socket_directory(self) -> Path:
        """In the data directory, or in /tmp when the path is too long for a socket or not plain."""
        inside = self.root / "socket"
        if PLAIN_PATH.fullmatch(str(inside)) and len(os.fsencode(inside / SOCKET_NAME)) <= LONGEST_SOCKET_PATH:
            return inside
        # Not tempfile.gettempdir(), which depends on each process's environment.
        return Path("/tmp") / f"taskqueue-{digest(self.root)}"  # noqa: S108 - made with mode 0700, owner checked
