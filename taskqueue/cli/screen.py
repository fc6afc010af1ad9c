"""What a command prints: data on stdout, as tables or JSON; messages and progress on stderr."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from rich.cells import cell_len
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Column as TableColumn
from rich.table import Table
from rich.text import Text

from taskqueue.cli.client import Failure

STYLES: Final = {
    "succeeded": "green",
    "failed": "red",
    "cancelled": "magenta",
    "running": "cyan",
    "retrying": "yellow",
    "waiting": "blue",
    "live": "green",
    "silent": "red",
    "claim_error": "red",
    "draining": "yellow",
    "drained": "yellow",
    "paused": "yellow",
}
"""Of words in tables."""
UNLIMITED: Final = 100_000
"""The width of lines in a file or a pipe: other programs cut what is too long for them."""
MEDIUM: Final = 76
WIDE: Final = 110
"""Widths of terminals from which on tables have more columns."""
GAP: Final = 2
NARROWEST: Final = 8
EMPTY: Final = "-"


@dataclass(frozen=True)
class Column:
    """A column of a table: its heading and the text of a row."""

    heading: str
    text: Callable[[Any], object]
    at: int = 0
    """The width of the terminal from which on it is shown."""
    cut: bool = False
    """Whether it is cut so that the others fit."""
    right: bool = False


class Screen:
    """The two streams of a command.

    Args:
        as_json: whether data is printed as JSON.
    """

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json
        width = None if sys.stdout.isatty() else UNLIMITED
        self._out = Console(width=width, highlight=False, markup=False, emoji=False)
        self.messages = Console(stderr=True, highlight=False, markup=False, emoji=False)

    @property
    def is_live(self) -> bool:
        """Whether stderr is a terminal that can redraw lines."""
        return self.messages.is_terminal and not self.messages.is_dumb_terminal

    def json(self, value: object) -> None:
        """Print a value as JSON, on several lines."""
        self._write(json_text(value, indent=2))

    def line(self, text: object) -> None:
        """Print a line of data as it is."""
        self._write(printable(str(text)))

    def text(self, text: str, style: str = "") -> None:
        """Print text that wraps at the width of the terminal."""
        self._out.print(Text(printable(text), style))

    def table(self, columns: Sequence[Column], rows: Sequence[Any], *, empty: str, to_messages: bool = False) -> None:
        """Print a table, or the text for an empty one as a message."""
        console = self.messages if to_messages else self._out
        if not rows:
            self.note(empty)
            return
        shown = [each for each in columns if console.width >= each.at]
        cells = [[cell(each.text(row)) for each in shown] for row in rows]
        widths = [
            max(cell_len(column.heading), *(line[number].cell_len for line in cells))
            for number, column in enumerate(shown)
        ]
        free = console.width - sum(NARROWEST if each.cut else width for each, width in zip(shown, widths, strict=True))
        free -= GAP * (len(shown) - 1)
        table = Table(box=None, pad_edge=False, padding=(0, GAP, 0, 0), header_style="bold")
        for column, width in zip(shown, widths, strict=True):
            given = min(width, NARROWEST + max(free, 0)) if column.cut else width
            free -= max(given - NARROWEST, 0) if column.cut else 0
            table.add_column(
                column.heading,
                no_wrap=column.cut,
                justify="right" if column.right else "left",
                overflow="ellipsis" if column.cut else "fold",
                max_width=given,
            )
        for line in cells:
            table.add_row(*line)
        self._print_table(table, console)

    def details(self, pairs: Sequence[tuple[str, object]]) -> None:
        """Print names and values; pairs without a value are left out."""
        table = Table(box=None, pad_edge=False, padding=(0, GAP, 0, 0), show_header=False)
        table.add_column(style="bold", no_wrap=True)
        table.add_column(overflow="fold")
        for name, value in pairs:
            if value not in (None, "", [], {}):
                table.add_row(name, cell(value, is_one_line=False))
        self._print_table(table, self._out)

    def _print_table(self, table: Table, console: Console) -> None:
        with console.capture() as captured:
            console.print(table)
        for line in captured.get().splitlines():
            console.file.write(f"{line.rstrip()}\n")  # rich pads all lines to one length

    def note(self, text: str) -> None:
        """Print a message to stderr."""
        self.messages.print(Text(printable(text)), soft_wrap=True)

    def failure(self, failure: Failure) -> None:
        """Print what went wrong, and its remedy."""
        self.messages.print(Text.assemble(("Error: ", "bold red"), printable(failure.message)), soft_wrap=True)
        if failure.remedy:
            self.note(failure.remedy)

    @contextmanager
    def bars(self) -> Iterator[Bars]:
        """Progress bars on stderr; on a stream that is no terminal they draw nothing."""
        progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=16),
            TimeElapsedColumn(),
            # The rest of the line; the other columns keep their widths.
            TextColumn("{task.fields[text]}", markup=False, table_column=TableColumn(no_wrap=True, ratio=1)),
            console=self.messages,
            expand=True,
            disable=not self.is_live,
        )
        with progress:
            yield Bars(progress)

    def _write(self, text: str) -> None:
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()


class Bars:
    """The progress bars of a command, by name."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._bars: dict[object, TaskID] = {}

    def show(self, key: object, description: str, *, done: float, text: str, total: float = 1) -> None:
        """Add or move a bar."""
        if key not in self._bars:
            self._bars[key] = self._progress.add_task(printable(description), total=total, text="")
        self._progress.update(self._bars[key], completed=done, text=printable(text))


def cell(value: object, *, is_one_line: bool = True) -> Text:
    """A value in a table; what is no single line becomes one."""
    text = EMPTY if value in (None, "") else str(value)
    if is_one_line:
        text = " ".join(text.split())
    return Text(printable(text), STYLES.get(text, ""))


def printable(text: str) -> str:
    """The text without control characters, which could change the terminal: tasks carry texts of others."""
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() or each in "\n\t" else repr(each)[1:-1] for each in text)


def json_text(value: object, indent: int | None = None) -> str:
    """JSON that is safe to print: the control characters that JSON allows are escaped."""
    text = json.dumps(value, ensure_ascii=False, indent=indent)
    return "".join(each if each.isprintable() or each == "\n" else json.dumps(each)[1:-1] for each in text)


def local_time(text: str | None) -> str:
    """A time of the API in the zone of this machine; empty for none."""
    return "" if text is None else f"{datetime.fromisoformat(text).astimezone():%Y-%m-%d %H:%M:%S}"


def short_time(text: str | None) -> str:
    """As `local_time`, for tables: without the year if it is this one, else without the time of day."""
    if text is None:
        return ""
    at = datetime.fromisoformat(text).astimezone()
    return f"{at:%m-%d %H:%M:%S}" if at.year == time.localtime().tm_year else f"{at:%Y-%m-%d}"


def duration(started: str | None, finished: str | None) -> str:
    """The time between two times of the API; empty if there is not yet one."""
    if started is None or finished is None:
        return ""
    return seconds_text((datetime.fromisoformat(finished) - datetime.fromisoformat(started)).total_seconds())


def seconds_text(seconds: float | None) -> str:
    if seconds is None:
        return ""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"
