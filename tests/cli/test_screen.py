"""What a terminal shows: tables that fit, colours, progress bars, and no control characters of others."""

from __future__ import annotations

import io
import re
import sys

import pytest

from taskqueue.cli.main import run
from taskqueue.cli.screen import Screen, json_text, local_time, printable, seconds_text, short_time
from taskqueue.models import Task

ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def terminal(monkeypatch):
    """Makes both streams a terminal of this width, and returns it."""

    def make(width: int) -> Terminal:
        stream = Terminal()
        monkeypatch.setenv("TERM", "xterm-256color")
        monkeypatch.setenv("COLUMNS", str(width))
        monkeypatch.setattr(sys, "stdout", stream)
        monkeypatch.setattr(sys, "stderr", stream)
        return stream

    return make


def printed(project, terminal, width, *words):
    stream = terminal(width)
    assert project.execute(words) in (0, 1)
    return stream.getvalue()


@pytest.mark.parametrize("width", [60, 80, 120])
def test_tables_fit_the_terminal_and_keep_ids_whole(project, failed, succeeded, terminal, width):
    text = ESCAPES.sub("", printed(project, terminal, width, "list"))

    assert all(len(line) <= width for line in text.splitlines())
    for task in Task.objects.all():
        assert f"{task.pk}  {task.status}" in text
    assert ("CREATED" in text, "NOTE" in text) == (width >= 80, width >= 120)


@pytest.mark.parametrize("width", [30, 50])
def test_a_very_narrow_terminal_loses_no_part_of_an_id(project, queued, terminal, width):
    lines = ESCAPES.sub("", printed(project, terminal, width, "list")).splitlines()

    assert "".join(line.split("  ")[0].split()[0] for line in lines[1:] if line.strip()).startswith(str(queued.pk)[:8])
    assert all(len(line) <= width for line in lines)


def test_colours_are_for_terminals_without_no_color(project, failed, terminal, monkeypatch):
    assert ESCAPES.search(printed(project, terminal, 80, "list"))
    monkeypatch.setenv("NO_COLOR", "1")
    assert not re.search(r"\x1b\[3[0-9]m", printed(project, terminal, 80, "list"))
    assert not ESCAPES.search(project("list").out)


def test_watch_draws_bars_on_a_terminal(project, succeeded, terminal):
    text = ESCAPES.sub("", printed(project, terminal, 80, "watch", str(succeeded.pk)))

    assert f"shop/order …{str(succeeded.pk)[-6:]} ━━━━" in text
    assert "succeeded, 2/2 steps" in text
    assert text.endswith(f"{succeeded.pk}  succeeded\n")


@pytest.mark.parametrize(
    ("answer", "code", "status"), [("y\n", 0, "queued"), ("\n", 1, "failed"), ("no\n", 1, "failed")]
)
def test_bulk_asks_on_a_terminal(project, failed, terminal, monkeypatch, answer, code, status):
    monkeypatch.setattr(sys, "stdin", Terminal(answer))
    stream = terminal(80)

    try:
        ended = project.execute(["bulk", "retry", "--pipeline", "shop/order"])
    except SystemExit as end:
        ended = end.code

    assert (ended, Task.objects.get().status) == (code, status)
    assert "Retry 1 task? [y/N]" in stream.getvalue()


def test_control_characters_become_escapes():
    assert printable("a\x1b[31mb\x9bc\nd") == "a\\x1b[31mb\\x9bc\nd"
    assert json_text({"a": "\x9b\x1b\U000e0001ü"}) == '{"a": "\\u009b\\u001b\\udb40\\udc01ü"}'


def test_times_are_local(monkeypatch):
    local = local_time("2020-01-31T08:00:00Z")

    assert re.fullmatch(r"2020-0[12]-\d\d \d\d:\d\d:00", local)
    assert short_time("2020-01-31T08:00:00Z") == local[:10]
    assert (local_time(None), short_time(None)) == ("", "")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, ""), (0.0314, "31 ms"), (4.25, "4.2 s"), (59, "59.0 s"), (61, "1 min 1 s"), (7_260, "2 h 1 min")],
)
def test_durations_are_short(seconds, text):
    assert seconds_text(seconds) == text


def test_a_failure_of_the_command_itself_is_not_hidden():
    def connect() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run(type("Arguments", (), {"as_json": False, "function": "listings.listing"})(), connect)  # type: ignore[arg-type]
    assert not Screen(as_json=False).is_live
