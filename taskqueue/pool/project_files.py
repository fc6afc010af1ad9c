"""The Python files of the project, not those of installed packages: which have changed, and which cannot be read."""

from __future__ import annotations

import os
import sys
import sysconfig
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Final

SETTLING: Final = 0.1
"""A file that is saved may be gone for a moment, and a change of branch writes many."""
NOT_OURS: Final = {"site-packages", "dist-packages", "node_modules", "__pycache__"}


class ProjectFiles:
    """Every Python file below the packages that this process has loaded from outside of Python's own folders.

    Whole folders are watched rather than loaded modules: a module that is new, or that failed to import, is not loaded.
    """

    def __init__(self) -> None:
        self._roots = sorted(set(_project_roots()))
        self._seen = self._times()
        self._suspects: set[Path] = set()

    def changed(self) -> str:
        """The first file that was saved, made or removed since the last call, as a path from here; "" for none."""
        now = self._times()
        if now == self._seen:
            return ""
        before, now = now, self._settled(now)
        changed = {path for path, _ in self._seen.items() ^ now.items()}
        self._seen = now
        self._suspects |= changed
        return _from_here(min(changed, default=min(before)))

    def syntax_error(self) -> str:
        """A sentence that names the first of the files changed so far that Python cannot read; "" if there is none."""
        for path in sorted(self._suspects):
            if fault := _syntax_error(path):
                return f"{_from_here(path)}{fault}"
        self._suspects.clear()
        return ""

    def _settled(self, times: dict[Path, int]) -> dict[Path, int]:
        while True:
            time.sleep(SETTLING)
            before, times = times, self._times()
            if before == times:
                return times

    def _times(self) -> dict[Path, int]:
        times = {}
        for root in self._roots:
            for path in _python_files(root):
                try:
                    times[path] = path.stat().st_mtime_ns
                except OSError:  # removed just now
                    continue
        return times


def _project_roots() -> Iterator[Path]:
    """The folder of each top-level package, and the file of each top-level module."""
    python = Path(sysconfig.get_path("stdlib"))
    for name, module in list(sys.modules.items()):
        if "." in name:
            continue
        file = getattr(module, "__file__", None)
        places = getattr(module, "__path__", [file] if file else [])
        for place in map(Path, places):
            if not place.is_relative_to(python) and not NOT_OURS & set(place.parts):
                yield place.absolute()


def _python_files(root: Path) -> Iterator[Path]:
    if root.is_file():
        yield root
    for folder, folders, names in os.walk(root):
        folders[:] = [name for name in folders if name not in NOT_OURS and not name.startswith(".")]
        yield from (Path(folder, name) for name in names if name.endswith(".py") and not name.startswith("."))


def _syntax_error(path: Path) -> str:
    try:
        with warnings.catch_warnings(action="ignore"):
            compile(path.read_bytes(), path, "exec", dont_inherit=True)
    except SyntaxError as error:
        return f", line {error.lineno}: {error.msg}."
    except ValueError as error:  # such as a null byte
        return f": {error}."
    except OSError:  # removed
        return ""
    return ""


def _from_here(path: Path) -> str:
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)
