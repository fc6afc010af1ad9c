"""The data directory of a server, and the files in it."""

import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path

SYSTEM_DIRECTORY = Path("/var/lib/taskqueue")
PORT = "5432"  # The server listens on no port, but the socket is named after one.
# The shortest limit of the systems that we run on (macOS: 104 bytes with the final NUL).
LONGEST_SOCKET_PATH = 103


@dataclass(frozen=True)
class DataDirectory:
    """Paths below one directory."""

    root: Path

    @property
    def pgdata(self) -> Path:
        """PostgreSQL's own directory. It exists only when initdb has finished."""
        return self.root / "postgres"

    @property
    def unfinished_pgdata(self) -> Path:
        return self.root / "postgres.new"

    @property
    def users_lock(self) -> Path:
        """Every process that uses the server holds this lock shared, and the supervisor holds it to stop the server."""
        return self.root / "users.lock"

    @property
    def server_lock(self) -> Path:
        """The supervisor and every process of the server hold this lock: one server at a time."""
        return self.root / "server.lock"

    @property
    def log(self) -> Path:
        return self.root / "server.log"

    @property
    def socket(self) -> Path:
        """The server's socket, in the directory that only the server's user and root can enter."""
        return self.pgdata / f".s.PGSQL.{PORT}"

    @property
    def allows_a_socket(self) -> bool:
        """Whether the socket can have this path. libpq takes a comma for the end of a host's name."""
        return len(os.fsencode(self.socket)) <= LONGEST_SOCKET_PATH and "," not in str(self.socket)


def default_data_directory(project: Path) -> DataDirectory:
    """Return the directory for the project at this path: outside the checkout, and another one for each path.

    For root it is below /var/lib, because PostgreSQL refuses to run as root, and the user that it runs as instead
    cannot enter root's home.
    """
    project = project.resolve()
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", project.name).strip("-.")[:20] or "project"
    digest = hashlib.sha256(os.fsencode(project)).hexdigest()[:10]
    named = DataDirectory(user_data_home() / f"{name}-{digest}")
    return named if named.allows_a_socket else DataDirectory(user_data_home() / digest)


def user_data_home() -> Path:
    if os.geteuid() == 0:
        return SYSTEM_DIRECTORY
    home = os.environ.get("XDG_DATA_HOME", "")
    # The XDG specification says to ignore a relative path.
    return (Path(home) if home.startswith("/") else Path.home() / ".local" / "share") / "taskqueue"


def make_directory(path: Path) -> None:
    """Make this directory and its missing parents. The server's user, which is not root, can pass through root's."""
    if not path.exists():
        make_directory(path.parent)
        mode = 0o711 if os.geteuid() == 0 else 0o700
        path.mkdir(mode, exist_ok=True)
        path.chmod(mode)  # whatever the umask says
