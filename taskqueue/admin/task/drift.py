"""Drift as a task's page shows it: where the task's record and the present code differ."""

from __future__ import annotations

from dataclasses import dataclass

from taskqueue.models import Task
from taskqueue.states import DriftKind

SENTENCES = {
    DriftKind.VERSION: "The code no longer has the body of the task's version.",
    DriftKind.ARGUMENTS: "The code calls it with other arguments than the recorded ones. Its recorded output was used.",
    DriftKind.UNUSED: "It is recorded, but the code no longer calls it.",
}


@dataclass(frozen=True)
class DriftRow:
    key: str
    sentence: str
    recorded: str
    now: str | None


def drift_of(task: Task) -> list[DriftRow]:
    return [
        DriftRow(
            note.get("key") or "Version",
            SENTENCES.get(note.get("kind", ""), ""),
            note.get("recorded") or "none",
            note.get("now"),
        )
        for note in task.drift or []
    ]
