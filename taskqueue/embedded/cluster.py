"""The data directory proper: made once by initdb, and checked before every start."""

import os
import shutil
import subprocess

from django.core.exceptions import ImproperlyConfigured
from django.db import OperationalError

from taskqueue.embedded.binaries import Binaries
from taskqueue.embedded.location import Layout
from taskqueue.embedded.owner import Owner, make_directory

SUPERUSER = "postgres"
# The environment of every PostgreSQL program: messages, sorting and times that depend on no host.
ENVIRONMENT = {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}


def prepare_cluster(layout: Layout, *, owner: Owner, binaries: Binaries, start_lock: int) -> None:
    """Make the data directory unless there is one of this PostgreSQL's major version.

    Raises ImproperlyConfigured for a directory of another version, OperationalError when initdb fails.
    The caller holds the start lock.
    """
    if layout.pgdata.exists():
        check_version(layout, binaries)
        return
    # What an interrupted initdb left. It cannot still be at work: it holds the start lock with us.
    shutil.rmtree(layout.unfinished_pgdata, ignore_errors=True)
    make_directory(layout.unfinished_pgdata, mode=0o700, owner=owner)
    initialize(layout, owner=owner, binaries=binaries, start_lock=start_lock)
    layout.unfinished_pgdata.rename(layout.pgdata)
    sync_directory(layout)


def initialize(layout: Layout, *, owner: Owner, binaries: Binaries, start_lock: int) -> None:
    options = [
        f"--pgdata={layout.unfinished_pgdata}",
        f"--username={SUPERUSER}",
        "--encoding=UTF8",
        # PostgreSQL's own locale: the same order on every machine, whatever its C library.
        "--locale-provider=builtin",
        "--builtin-locale=C.UTF-8",
        "--locale=C",
        "--text-search-config=simple",
        # Whoever reaches the socket is the owner or root, by its directory's permissions, and owns the files anyway.
        "--auth-local=trust",
        "--auth-host=reject",
        "--no-instructions",
    ]
    done = subprocess.run(  # noqa: S603 - our own binary
        [binaries.path("initdb"), *options],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
        cwd="/",
        env=ENVIRONMENT,
        text=True,
        errors="replace",
        user=owner.uid if owner.is_another else None,
        group=owner.gid if owner.is_another else None,
        extra_groups=[] if owner.is_another else None,
        # If we are killed now, the lock stays held until initdb has ended.
        pass_fds=[start_lock],
    )
    if done.returncode:
        raise OperationalError(
            f"PostgreSQL could not make a database in {layout.root}:\n{done.stdout}\n"
            'Choose another directory in DATABASES["default"]["EMBEDDED"]["data_dir"], or set DATABASE_URL.'
        )


def sync_directory(layout: Layout) -> None:
    """Make the rename as durable as what will be committed behind it."""
    directory = os.open(layout.root, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def check_version(layout: Layout, binaries: Binaries) -> None:
    version_file = layout.pgdata / "PG_VERSION"
    made_by = version_file.read_text().strip() if version_file.exists() else "something other than PostgreSQL"
    ours = binaries.major_version()
    if made_by != ours:
        raise ImproperlyConfigured(
            f"The database in {layout.root} was made by PostgreSQL {made_by}, and the one installed is {ours}. "
            "Install the version of django-durable-taskqueue[embedded] that made it and move the data with pg_dump; or "
            f"delete {layout.root} to start afresh without the data; or set DATABASE_URL."
        )
