"""Read a traceback: frames of the project stand out, frames of libraries are grouped and folded."""

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
SHOWN_PATH_PARTS: Final = 3


@dataclass(frozen=True)
class Frame:
    """A frame with its source lines; or, without a path, text between frames such as the error itself."""

    text: str
    path: str = ""
    line: str = ""
    function: str = ""

    @property
    def is_library(self) -> bool:
        return bool(LIBRARIES.search(self.path))

    @property
    def location(self) -> str:
        return f"{'/'.join(self.path.split('/')[-SHOWN_PATH_PARTS:])}:{self.line}"


@dataclass(frozen=True)
class FrameGroup:
    """Successive frames, all of libraries or all of the project."""

    is_library: bool
    frames: list[Frame]


def frame_groups(traceback: str) -> list[FrameGroup]:
    """Split a traceback into groups, in its own order."""
    return [
        FrameGroup(is_library, list(frames))
        for is_library, frames in groupby(frames_of(traceback), lambda frame: frame.is_library)
    ]


def frames_of(traceback: str) -> Iterator[Frame]:
    """Each frame with its source lines, and the text between frames."""
    lines = traceback.splitlines()
    position = 0
    while position < len(lines):
        match = FRAME.match(lines[position])
        if match is None:
            if lines[position].strip() and not lines[position].startswith("Traceback (most"):
                yield Frame(lines[position])
            position += 1
            continue
        indent = len(lines[position]) - len(lines[position].lstrip())
        position += 1
        source = []
        while position < len(lines) and is_source_line(lines[position], indent):
            source.append(lines[position].strip())
            position += 1
        yield Frame("\n".join(source), match["path"], match["line"], match["function"] or "")


def is_source_line(line: str, indent: int) -> bool:
    return FRAME.match(line) is None and line.startswith(" " * (indent + 1))
