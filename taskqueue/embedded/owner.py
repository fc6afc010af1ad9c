"""Which operating system user the server runs as."""

import os
import pwd
import shutil
import stat
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from django.core.exceptions import ImproperlyConfigured

from taskqueue.embedded.location import SYSTEM_DIRECTORY, Layout

ACCOUNT = "taskqueue-db"


@dataclass(frozen=True)
class Owner:
    """A user to run the server as; for ourselves there is nothing to change."""

    uid: int
    gid: int
    is_another: bool

    def can_enter(self, directory: Path) -> bool:
        status = directory.stat()
        if status.st_uid == self.uid:
            return bool(status.st_mode & stat.S_IXUSR)
        if status.st_gid == self.gid:
            return bool(status.st_mode & stat.S_IXGRP)
        return bool(status.st_mode & stat.S_IXOTH)


def find_owner(layout: Layout) -> Owner:
    """Ourselves; or, as root, whom the data belongs to already, or the account made for it.

    Raises ImproperlyConfigured when that user cannot reach the data directory, or the data is somebody else's.
    """
    if os.geteuid() != 0:
        owner = Owner(os.geteuid(), os.getegid(), is_another=False)
        if layout.pgdata.exists() and layout.pgdata.stat().st_uid != owner.uid:
            raise ImproperlyConfigured(
                f"The database in {layout.root} belongs to another user. Run this as that user, or choose another "
                'directory in DATABASES["default"]["EMBEDDED"]["data_dir"].'
            )
        return owner
    owner = find_owner_for_root(layout)
    check_reachable(layout.root, owner)
    return owner


def find_owner_for_root(layout: Layout) -> Owner:
    if layout.pgdata.exists():
        status = layout.pgdata.stat()
        return Owner(status.st_uid, status.st_gid, is_another=True)
    account = find_account()
    return Owner(account.pw_uid, account.pw_gid, is_another=True)


def find_account() -> pwd.struct_passwd:
    """An account of its own, so that no other service's processes can read the data; else nobody.

    A bare number without an account does not do: initdb looks its own user up.
    """
    try:
        return pwd.getpwnam(ACCOUNT)
    except KeyError:
        add_account()
    try:
        return pwd.getpwnam(ACCOUNT)
    except KeyError:
        return pwd.getpwnam("nobody")


def add_account() -> None:
    useradd = shutil.which("useradd", path="/usr/sbin:/sbin:/usr/bin:/bin")
    if useradd is None:
        return
    options = ["--system", "--user-group", "--no-create-home", "--home-dir", "/nonexistent"]
    # Two processes may both get here; the loser fails and finds the winner's account.
    subprocess.run(  # noqa: S603 - a fixed command
        [useradd, *options, "--shell", "/usr/sbin/nologin", ACCOUNT], capture_output=True, check=False
    )


def check_reachable(root: Path, owner: Owner) -> None:
    for directory in (root, *root.parents):
        if directory.exists() and not owner.can_enter(directory):
            name = pwd.getpwuid(owner.uid).pw_name
            raise ImproperlyConfigured(
                f"PostgreSQL does not run as root, and the user {name} that it runs as instead cannot enter "
                f'{directory}. Set DATABASES["default"]["EMBEDDED"]["data_dir"] to a directory that it can reach '
                f"(by default one below {SYSTEM_DIRECTORY}), do not run as root, or set DATABASE_URL."
            )


def make_directory(path: Path, *, mode: int, owner: Owner | None = None) -> None:
    """Make this directory unless it exists, and its missing parents: as root so that everybody can enter those."""
    if path.exists():
        return
    if not path.parent.exists():
        make_directory(path.parent, mode=0o755 if os.geteuid() == 0 else 0o700)
    # Several processes may start at once. Under its name the directory appears with its owner and mode already set:
    # a process that met it before would refuse it as one that the database's user cannot enter.
    made = Path(tempfile.mkdtemp(prefix=f".{path.name}-", dir=path.parent))
    if owner is not None and owner.is_another:
        os.chown(made, owner.uid, owner.gid)
    made.chmod(mode)  # whatever the umask says
    try:
        made.rename(path)
    except OSError:
        made.rmdir()
        if not path.is_dir():
            raise
        # Another process made it in the meantime, in the same way, and has put something into it.


def make_private_directory(path: Path, *, owner: Owner) -> None:
    """Make a directory that only the owner (and root) can enter, even in /tmp; refuse anybody else's."""
    make_directory(path, mode=0o700, owner=owner)
    status = path.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != owner.uid or stat.S_IMODE(status.st_mode) & 0o077:
        raise ImproperlyConfigured(
            f"{path} should be a directory that only the database's user can enter, but somebody else made it or "
            "opened it to others. Remove it, and start again."
        )
