"""Events of a stream: what is new since a position, without loss or repetition."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from taskqueue.engine.sql.streams.changes import CHUNKS_AT_ONCE
from taskqueue.engine.streams.changes import Changes, State
from taskqueue.engine.streams.position import MAX_OPEN_LOGS, Position

NOW = datetime(2031, 5, 1, 12, tzinfo=UTC)
RUNNING = State(
    pipeline="shop/order", status="running", progress=None, progress_note="", current_step="pack", created_at=NOW,
    started_at=NOW, finished_at=None, due_at=NOW, error=None, chunks=[], attempts=[], steps=[], report=None,
)  # fmt: skip
ENDED = replace(RUNNING, status="succeeded", current_step=None, finished_at=NOW)


def log(*numbers: int, dropped: int = 0) -> dict[str, Any]:
    return {"dropped": dropped, "lines": [[number, "INFO", "shop", f"line {number}"] for number in numbers]}


def lines(changes: Changes) -> list[tuple[int, str]]:
    return [(event.data["line"], event.data["text"]) for event in changes.events if event.name == "log"]


def names(changes: Changes) -> list[str]:
    return [event.name for event in changes.events]


def test_a_status_is_sent_once_and_progress_when_something_else_changes():
    first = Changes.since(Position(), RUNNING)
    same = Changes.since(first.position, RUNNING)
    more = Changes.since(first.position, replace(RUNNING, progress=0.5))

    assert (names(first), names(same), names(more)) == (["status"], [], ["progress"])


def test_lines_of_a_running_step_are_not_sent_again_when_it_has_finished():
    begun = Changes.since(Position(), replace(RUNNING, report=(0, "pack", log(1, 2))))
    more = Changes.since(begun.position, replace(RUNNING, report=(0, "pack", log(1, 2, 3))))
    done = Changes.since(more.position, replace(RUNNING, steps=[(77, "pack", log(1, 2, 3, 4))]))

    assert lines(begun) == [(1, "line 1"), (2, "line 2")]
    assert (lines(more), lines(done)) == ([(3, "line 3")], [(4, "line 4")])
    assert (done.position.step, done.position.open_logs) == (77, ())


def test_lines_of_another_attempt_are_sent_from_its_first_one():
    lost = Changes.since(Position(), replace(RUNNING, report=(0, "pack", log(1, 2))))

    again = Changes.since(lost.position, replace(RUNNING, report=(0, "pack", log(5, 6, 7))))

    assert lines(again) == [(1, "line 5"), (2, "line 6"), (3, "line 7")]


def test_lines_that_were_dropped_keep_their_numbers():
    seen = Changes.since(Position(), replace(RUNNING, report=(0, "pack", log(1, 2, 3))))

    more = Changes.since(seen.position, replace(RUNNING, report=(0, "pack", log(3, 4, dropped=2))))
    gap = Changes.since(seen.position, replace(RUNNING, report=(0, "pack", log(9, dropped=8))))

    assert (lines(more), lines(gap)) == ([(4, "line 4")], [(9, "line 9")])


def test_a_log_that_was_cut_in_the_middle_goes_on_there():
    whole = Changes.since(Position(), replace(RUNNING, attempts=[(5, "pack", log(1, 2, 3))]))
    cut = Position.parse(str(whole.events[2].position))

    rest = Changes.since(cut, replace(RUNNING, attempts=[(5, "pack", log(1, 2, 3))]))

    assert (lines(rest), rest.position.attempt) == ([(3, "line 3")], 5)


def test_the_end_comes_after_all_chunks():
    chunk = (8, "pack", 1, 2, "text", False, False)
    full = replace(ENDED, chunks=[chunk] * CHUNKS_AT_ONCE)

    first = Changes.since(Position(), full)
    last = Changes.since(first.position, replace(ENDED, chunks=[chunk]))

    assert (set(names(first)), first.is_end) == ({"chunk"}, False)
    assert (names(last), last.is_end) == (["chunk", "status", "end"], True)
    assert last.events[0].data == {"step": "pack", "attempt": 1, "execution": 2, "text": "text", "is_cut": False}


def test_after_the_end_there_is_nothing_until_the_task_goes_on():
    end = Changes.since(Position(), ENDED).position

    assert Changes.since(end, ENDED).is_nothing
    assert names(Changes.since(end, RUNNING)) == ["status"]
    assert not Changes.since(end, replace(ENDED, finished_at=NOW.replace(hour=13))).is_nothing


@pytest.mark.parametrize("is_end", [True, False])
def test_a_position_survives_being_sent(is_end):
    logs = tuple((number, f"{number:08x}") for number in range(MAX_OPEN_LOGS))
    position = Position(10**18 - 1, 7, 1_764_551_234_567_890, "running", "5f1c2a9e", logs, is_end=is_end)

    assert Position.parse(str(position)) == position
    assert Position.parse("") == Position()


@pytest.mark.parametrize("text", ["soon", "1.2.3", "1.2.3.running.5f1c2a9e.x", f"{10**18}.0.0..", "1.0.0..\n"])
def test_another_text_is_no_position(text):
    with pytest.raises(ValueError, match="not the id of an event"):
        Position.parse(text)
