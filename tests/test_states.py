"""The moves between statuses, and the page that shows them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from taskqueue.states import ENDED, LIVE, MOVES, ON_A_TIMER, AttemptOutcome, StepStatus, TaskStatus

PAGE = (Path(__file__).parents[1] / "docs" / "states.md").read_text()


def section(title: str) -> str:
    """The part of docs/states.md under a heading."""
    return next(part for part in re.split(r"^## ", PAGE, flags=re.MULTILINE) if part.startswith(title))


def words(cell: str) -> set[str]:
    """The statuses in a cell of a table."""
    return set(re.findall(r"`(\w+)`", cell))


def test_the_table_in_the_documentation_is_the_table_in_the_code():
    rows = [line.strip("|").split("|") for line in section("Moves").splitlines() if line.startswith("| `")]

    assert {next(iter(words(row[0]))): words(row[1]) for row in rows} == {
        str(status): {str(target) for target in targets} for status, targets in MOVES.items()
    }


def test_the_picture_in_the_documentation_shows_the_same_moves():
    arrows = re.findall(r"^ *(\w+) --> (\w+)", section("Picture"), flags=re.MULTILINE)

    assert len(arrows) == len(set(arrows))
    assert set(arrows) == {(str(source), str(target)) for source, targets in MOVES.items() for target in targets}


@pytest.mark.parametrize(("title", "words_of"), [("Steps", StepStatus), ("Attempts", AttemptOutcome)])
def test_the_other_words_are_explained_too(title, words_of):
    rows = [line for line in section(title).splitlines() if line.startswith("| `")]

    assert {next(iter(words(row.strip("|").split("|")[0]))) for row in rows} == {str(word) for word in words_of}


def test_every_status_is_in_the_table_and_none_moves_to_itself():
    assert set(MOVES) == set(TaskStatus)
    assert all(status not in targets for status, targets in MOVES.items())


def test_every_status_is_ended_or_live_and_only_a_person_moves_an_ended_one():
    assert set(ENDED) | set(LIVE) == set(TaskStatus)
    assert not set(ENDED) & set(LIVE)
    assert all(MOVES[status] == {TaskStatus.QUEUED} for status in ENDED)


def test_what_is_on_a_timer_becomes_queued_or_is_cancelled():
    assert all(MOVES[status] == {TaskStatus.QUEUED, TaskStatus.CANCELLED} for status in ON_A_TIMER)


def test_whatever_has_not_ended_can_be_cancelled():
    assert {source for source, targets in MOVES.items() if TaskStatus.CANCELLED in targets} == set(LIVE)


def test_only_a_queued_task_is_claimed():
    assert [source for source, targets in MOVES.items() if TaskStatus.RUNNING in targets] == [TaskStatus.QUEUED]
