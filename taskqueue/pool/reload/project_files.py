"""Watch the Python files of the project, not those of installed packages, for changes and syntax errors."""

from __future__ import annotations

import os
import sys
import sysconfig
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Final

STABLE_AFTER: Final = 0.1
"""Seconds. An editor may remove a file for a moment while it saves, and a change of branch writes many files."""
EXCLUDED_FOLDERS: Final = {"site-packages", "dist-packages", "node_modules", "__pycache__"}


class ProjectFiles:
    """Every Python file below the packages that this process has loaded from outside of Python's own folders.

    Folders are watched rather than loaded modules: a module that is new, or that failed to import, is not loaded.
    """

    def __init__(self) -> None:
        self._roots = sorted(set(_project_roots()))
        self._last_times = self._times()
        self._unchecked: set[Path] = set()

    def changed(self) -> str:
        """Return the relative path of the first file saved, created or removed since the last call, or ""."""
        now = self._times()
        if now == self._last_times:
            return ""
        before, now = now, self._when_stable(now)
        changed = {path for path, _ in self._last_times.items() ^ now.items()}
        self._last_times = now
        self._unchecked |= changed
        return _relative(min(changed, default=min(before)))

    def syntax_error(self) -> str:
        """Return a sentence about the first changed file that Python cannot compile, or ""."""
        for path in sorted(self._unchecked):
            if error := _syntax_error(path):
                return f"{_relative(path)}{error}"
        self._unchecked.clear()
        return ""

    def _when_stable(self, times: dict[Path, int]) -> dict[Path, int]:
        while True:
            time.sleep(STABLE_AFTER)
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
        for path in map(Path, getattr(module, "__path__", [file] if file else [])):
            if not path.is_relative_to(python) and not EXCLUDED_FOLDERS & set(path.parts):
                yield path.absolute()


def _python_files(root: Path) -> Iterator[Path]:
    if root.is_file():
        yield root
    for folder, folders, names in os.walk(root):
        folders[:] = [name for name in folders if name not in EXCLUDED_FOLDERS and not name.startswith(".")]
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


def _relative(path: Path) -> str:
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)
