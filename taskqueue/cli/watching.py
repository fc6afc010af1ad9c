"""The verb watch, and `submit --wait`: follow tasks until they have ended, across lost connections."""

from __future__ import annotations

import time
from argparse import Namespace
from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta
from functools import partial
from typing import Any, Final

from taskqueue.cli.client import Client, ExitCode, Failure, Unavailable
from taskqueue.cli.screen import Bars, Screen, json_text
from taskqueue.states import ENDED

LONG_POLL: Final = 1
"""Seconds that the service waits for an end before it answers; progress is shown as often."""
PAUSE: Final = 1.0
"""Seconds between two requests if the service cannot wait."""
LONGEST_PAUSE: Final = 15.0
"""Seconds between two attempts to reach a service that does not answer."""

State = dict[str, Any]


def watch(client: Client, screen: Screen, arguments: Namespace) -> ExitCode:
    """Follow tasks to their end."""
    states = follow(client, screen, list(map(str, arguments.ids)), arguments.timeout, json_lines=screen.as_json)
    if not screen.as_json:
        for state in states:
            screen.line(f"{state['id']}  {state['status']}")
    return report(screen, states)


def follow(
    client: Client, screen: Screen, ids: Sequence[str], timeout: timedelta | None, *, json_lines: bool = False
) -> list[State]:
    """Ask for the states of tasks until all have ended; their last states, in the order of the ids.

    The first answer for each task must come. After that a service that does not answer is asked again.

    Args:
        json_lines: whether each change is printed to stdout as a line of JSON.

    Raises:
        Failure: with TIMED_OUT if a task has not ended in time.
    """
    deadline = None if timeout is None else time.monotonic() + timeout.total_seconds()
    states = {each: client.get(f"tasks/{each}/status") for each in dict.fromkeys(ids)}
    with screen.bars() as bars:
        shown: dict[str, str] = {}
        while True:
            for state in states.values():
                show(screen, bars, state, shown, json_lines=json_lines)
            pending = [each for each, state in states.items() if state["status"] not in ENDED]
            if not pending:
                return list(states.values())
            if deadline is not None and time.monotonic() >= deadline:
                subject = f"{len(pending)} of {len(states)} tasks have" if len(states) > 1 else "The task has"
                raise Failure(f"{subject} not ended within the timeout.", code=ExitCode.TIMED_OUT)
            states |= next_states(client, screen, pending, deadline)


def show(screen: Screen, bars: Bars, state: State, shown: dict[str, str], *, json_lines: bool) -> None:
    """Move the bar of a task; without a terminal print a line if its status or its step has changed.

    Args:
        shown: by task, what was last printed; updated.
    """
    done, known = state["steps_done"], max(state["steps_known"], state["steps_done"])
    text = f"{state['status']}, {done}/{known} steps"
    if state["current_step"]:
        text += f", {state['current_step']}"
        text += f" (attempt {state['attempt']})" if state["attempt"] > 1 else ""
    note = state["progress_note"] if state["status"] not in ENDED else ""
    share = 1.0 if state["status"] == "succeeded" else (done + (state["progress"] or 0)) / max(known, done + 1)
    bars.show(
        state["id"], f"{state['pipeline']} …{state['id'][-6:]}", done=share, text=f"{text}, {note}" if note else text
    )
    line = json_text({name: value for name, value in state.items() if name != "waited"}) if json_lines else text
    if shown.get(state["id"]) == line:
        return
    shown[state["id"]] = line
    if json_lines:
        screen.line(line)
    elif not screen.is_live:
        screen.note(f"{state['id']}: {line}")


def next_states(client: Client, screen: Screen, pending: Sequence[str], deadline: float | None) -> dict[str, State]:
    """The states of tasks after up to a second, or after the end of the first one."""
    first, *others = pending
    state = reached(screen, deadline, partial(client.get, f"tasks/{first}/status", wait=LONG_POLL))
    if state is None:
        return {}
    if not state["waited"] and state["status"] not in ENDED:
        time.sleep(PAUSE)
    found = {first: state}
    for each in others:
        answer = reached(screen, deadline, partial(client.get, f"tasks/{each}/status"))
        if answer is not None:
            found[each] = answer
    return found


def reached(screen: Screen, deadline: float | None, ask: Callable[[], State]) -> State | None:
    """The answer of a service that may be away for a while; None if the time is over first."""
    pause = PAUSE
    is_lost = False
    while True:
        try:
            answer = ask()
        except Unavailable as lost:
            if not is_lost:
                screen.note(f"{lost.message} Trying again; the tasks continue without this command.")
            is_lost = True
        else:
            if is_lost:
                screen.note("The service answers again.")
            return answer
        if deadline is not None and time.monotonic() + pause > deadline:
            return None
        time.sleep(pause)
        pause = min(pause * 2, LONGEST_PAUSE)


def report(screen: Screen, tasks: Iterable[State]) -> ExitCode:
    """Print why ended tasks have not succeeded; the exit code for all of them."""
    failed = [task for task in tasks if task["status"] != "succeeded"]
    for task in failed:
        screen.note(f"Task {task['id']} {task['status']}{': ' + error_text(task['error']) if task['error'] else '.'}")
    return ExitCode.REFUSED if failed else ExitCode.DONE


def error_text(error: dict[str, Any]) -> str:
    """The error of a task in one sentence."""
    where = f" in step {error['step']}" if error["step"] else ""
    return f"{error['type']}{where}: {error['message']}"
