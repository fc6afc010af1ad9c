"""The moves between statuses, and the page that shows them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from taskqueue.states import ENDED, LIVE, ON_A_TIMER, TRANSITIONS, AttemptOutcome, StepStatus, TaskStatus

PAGE = (Path(__file__).parents[1] / "docs" / "states.md").read_text()


def section(title: str) -> str:
    """The part of docs/states.md under a heading."""
    return next(part for part in re.split(r"^## ", PAGE, flags=re.MULTILINE) if part.startswith(title))


def words(cell: str) -> set[str]:
    """The statuses in a cell of a table."""
    return set(re.findall(r"`(\w+)`", cell))


def test_the_documented_transitions_are_those_of_the_code():
    rows = [line.strip("|").split("|") for line in section("Moves").splitlines() if line.startswith("| `")]

    assert {next(iter(words(row[0]))): words(row[1]) for row in rows} == {
        str(status): {str(target) for target in targets} for status, targets in TRANSITIONS.items()
    }


def test_the_state_diagram_shows_these_transitions():
    arrows = re.findall(r"^ *(\w+) --> (\w+)", section("Picture"), flags=re.MULTILINE)

    assert len(arrows) == len(set(arrows))
    assert set(arrows) == {(str(source), str(target)) for source, targets in TRANSITIONS.items() for target in targets}


@pytest.mark.parametrize(("title", "words_of"), [("Steps", StepStatus), ("Attempts", AttemptOutcome)])
def test_other_statuses_are_documented_too(title, words_of):
    rows = [line for line in section(title).splitlines() if line.startswith("| `")]

    assert {next(iter(words(row.strip("|").split("|")[0]))) for row in rows} == {str(word) for word in words_of}


def test_every_status_has_transitions_and_none_to_itself():
    assert set(TRANSITIONS) == set(TaskStatus)
    assert all(status not in targets for status, targets in TRANSITIONS.items())


def test_an_ended_task_can_only_be_queued_again():
    assert set(ENDED) | set(LIVE) == set(TaskStatus)
    assert not set(ENDED) & set(LIVE)
    assert all(TRANSITIONS[status] == {TaskStatus.QUEUED} for status in ENDED)


def test_a_task_on_a_timer_can_be_queued_or_cancelled():
    moves = {status: TRANSITIONS[status] - {TaskStatus.RUNNING} for status in ON_A_TIMER}
    assert all(targets == {TaskStatus.QUEUED, TaskStatus.CANCELLED} for targets in moves.values())


def test_every_unfinished_task_can_be_cancelled():
    assert {source for source, targets in TRANSITIONS.items() if TaskStatus.CANCELLED in targets} == set(LIVE)


def test_only_a_queued_task_and_a_parallel_step_behind_a_limit_can_be_claimed():
    claimed = [source for source, targets in TRANSITIONS.items() if TaskStatus.RUNNING in targets]
    assert claimed == [TaskStatus.QUEUED, TaskStatus.WAITING]
