"""A traceback for reading: the project's own frames stand out, those of libraries are folded away."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Final

FRAME: Final = re.compile(r'^[\s|+-]*File "(?P<path>.*)", line (?P<line>\d+)(?:, in (?P<function>.*))?$')
LIBRARIES: Final = re.compile(
    r"(^|/)(site-packages|dist-packages|lib/python3[^/]*|asgiref|taskqueue/(engine|authoring))/|^<frozen "
)
SHOWN_PARTS: Final = 3


@dataclass(frozen=True)
class Frame:
    """One line of code on the way to an error, or words between such lines."""

    text: str
    path: str = ""
    line: str = ""
    function: str = ""

    @property
    def is_words(self) -> bool:
        """Whether it is no frame: the error itself, or how two errors belong together."""
        return not self.path

    @property
    def is_library(self) -> bool:
        """Whether the code is somebody else's."""
        return bool(LIBRARIES.search(self.path))

    @property
    def place(self) -> str:
        """The end of the path, which tells files apart, and the line."""
        return f"{'/'.join(self.path.split('/')[-SHOWN_PARTS:])}:{self.line}"


@dataclass(frozen=True)
class Run:
    """Frames of one kind in a row."""

    is_library: bool
    frames: list[Frame]


def runs_of(traceback: str) -> list[Run]:
    """A traceback as runs of own frames and of library frames, in its own order."""
    return [
        Run(is_library, list(frames))
        for is_library, frames in groupby(frames_of(traceback), lambda each: each.is_library)
    ]


def frames_of(traceback: str) -> Iterator[Frame]:
    """Each frame with the code below it, and the words between."""
    lines = traceback.splitlines()
    position = 0
    while position < len(lines):
        found = FRAME.match(lines[position])
        if found is None:
            if lines[position].strip() and not lines[position].startswith("Traceback (most"):
                yield Frame(lines[position])
            position += 1
            continue
        indent = len(lines[position]) - len(lines[position].lstrip())
        position += 1
        code = []
        while position < len(lines) and belongs_below(lines[position], indent):
            code.append(lines[position].strip())
            position += 1
        yield Frame("\n".join(code), found["path"], found["line"], found["function"] or "")


def belongs_below(line: str, indent: int) -> bool:
    """Whether a line is the code of the frame above it."""
    return FRAME.match(line) is None and line.startswith(" " * (indent + 1))
