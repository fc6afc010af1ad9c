"""The operating system user that the server runs as."""

import os
import pwd
import shutil
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Any

ACCOUNT = "taskqueue-db"
UNPRIVILEGED_ACCOUNT = "nobody"  # codespell:ignore nobody - the name of the system account


def run_as(pgdata: Path) -> dict[str, Any]:
    """Return the arguments of Popen that make a program run as the server's user: none unless we are root.

    PostgreSQL refuses to run as root. Its user is then the owner of the data, or a system account for new data.
    """
    if os.geteuid() != 0:
        return {}
    if pgdata.exists():
        status = pgdata.stat()
        uid, gid = status.st_uid, status.st_gid
    else:
        account = find_account()
        uid, gid = account.pw_uid, account.pw_gid
    return {"user": uid, "group": gid, "extra_groups": []}


def find_account() -> pwd.struct_passwd:
    """Return an account that no other service uses, made when it is missing; else the unprivileged one."""
    with suppress(KeyError):
        return pwd.getpwnam(ACCOUNT)
    make_account()
    with suppress(KeyError):
        return pwd.getpwnam(ACCOUNT)
    return pwd.getpwnam(UNPRIVILEGED_ACCOUNT)


def make_account() -> None:
    if useradd := shutil.which("useradd", path="/usr/sbin:/sbin:/usr/bin:/bin"):
        options = ["--system", "--user-group", "--no-create-home", "--home-dir", "/nonexistent"]
        # Of two processes that get here at once, one fails and finds the account that the other one made.
        subprocess.run(  # noqa: S603 - a fixed command
            [useradd, *options, "--shell", "/usr/sbin/nologin", ACCOUNT], capture_output=True, check=False
        )
