"""Where a task's record and the code disagreed, as its page says it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from taskqueue.models import Task
from taskqueue.states import DriftKind

SENTENCES = {
    DriftKind.VERSION: "The code no longer has the body of the task's version.",
    DriftKind.ARGUMENTS: "It is recorded with other arguments than it is called with now. Its output was kept.",
    DriftKind.UNUSED: "It is recorded, and the body ended without asking for it.",
}


@dataclass(frozen=True)
class DriftRow:
    """One disagreement."""

    key: str
    sentence: str
    recorded: str
    now: str | None


def drift_of(task: Task) -> list[DriftRow]:
    """All of them, in the order in which they were found."""
    return [row_of(note) for note in task.drift or []]


def row_of(note: dict[str, Any]) -> DriftRow:
    """One of them."""
    sentence = SENTENCES.get(note.get("kind", ""), "")
    return DriftRow(note.get("key") or "Version", sentence, note.get("recorded") or "none", note.get("now"))
