"""The position of a stream: what its caller has seen. It is the id of each event, so that a caller can resume there."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any, Final, Self

MAX_OPEN_LOGS: Final = 20
"""Logs that are read in part: of running steps."""
FORM: Final = re.compile(
    r"(\d{1,18})\.(\d{1,18})\.(\d{1,18})\.([a-z]{0,16})\.([0-9a-f]{0,8})((?:\.\d{1,9}-[0-9a-f]{8}){0,20})(\.end)?"
)


@dataclass(frozen=True)
class Position:
    """What a caller has seen of a task.

    Attributes:
        chunk: the id of the last chunk.
        attempt: the id of the last failed attempt whose log it has seen to the end.
        step: when the last step finished whose log it has seen to the end, in microseconds since 1970.
        status: the last status; empty before the first.
        state: the digest of the last status and progress.
        open_logs: of each log that it has seen in part, the number of lines and the digest of the last of them.
        is_end: whether it has seen the end.
    """

    chunk: int = 0
    attempt: int = 0
    step: int = 0
    status: str = ""
    state: str = ""
    open_logs: tuple[tuple[int, str], ...] = ()
    is_end: bool = False

    @classmethod
    def parse(cls, text: str) -> Self:
        """The position of an event's id; the beginning for an empty one.

        Raises:
            ValueError: no stream has sent it.
        """
        if not text:
            return cls()
        found = FORM.fullmatch(text)
        if found is None:
            raise ValueError("it is not the id of an event that a stream has sent")
        chunk, attempt, step, status, state, logs, end = found.groups()
        pairs = (part.split("-") for part in logs.split(".")[1:])
        open_logs = tuple((int(lines), digest) for lines, digest in pairs)
        return cls(int(chunk), int(attempt), int(step), status, state, open_logs, is_end=end is not None)

    def __str__(self) -> str:
        logs = "".join(f".{lines}-{digest}" for lines, digest in self.open_logs)
        end = ".end" if self.is_end else ""
        return f"{self.chunk}.{self.attempt}.{self.step}.{self.status}.{self.state}{logs}{end}"

    def lines_seen(self, step: str, dropped: int, lines: list[Any]) -> tuple[int, str] | None:
        """The entry of `open_logs` for this log of a step, which begins after so many dropped lines."""
        for seen, digest in self.open_logs:
            index = seen - dropped - 1
            if 0 <= index < len(lines) and digest_of([step, lines[index]]) == digest:
                return seen, digest
        return None

    def with_open_log(self, before: tuple[int, str] | None, after: tuple[int, str] | None) -> Self:
        """With another entry in `open_logs` in place of one, or without it."""
        others = [each for each in self.open_logs if each != before]
        return replace(self, open_logs=tuple([*others, *([after] if after else [])][-MAX_OPEN_LOGS:]))


def digest_of(value: Any) -> str:
    return sha256(json.dumps(value, default=str).encode()).hexdigest()[:8]
