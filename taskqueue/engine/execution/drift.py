"""Drift: where a task's record and the code that runs it now disagree."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, NamedTuple

from taskqueue import codec, context, masks
from taskqueue.codec import Arguments
from taskqueue.definitions import PipelineDefinition, StepDefinition, fingerprint, registry
from taskqueue.engine import sql
from taskqueue.engine.execution.journal import Entry, Journal
from taskqueue.engine.execution.secrets import secrets_at
from taskqueue.engine.runtime.outcomes import Failed, Outcome, Succeeded
from taskqueue.errors import Drift as DriftError
from taskqueue.states import DriftKind, StepStatus

SHOWN: Final = 2_000
"""Characters that are kept of a call's arguments."""

NOTED: Final = 100
"""Disagreements that are kept of a task."""

UNWRITTEN: Final = ("", codec.fingerprint_of(""))
"""What stands for arguments that could not be written."""

RECALLED: Final = (StepStatus.SUCCEEDED, StepStatus.FAILED)


class Call(NamedTuple):
    """What a recorded key was met with, when that is not what is recorded."""

    written: str
    """The arguments as JSON."""
    arguments: Arguments | None
    """The step's, by which they can be compared as values; None for a pause."""
    marks: Sequence[masks.Schema]
    """What tells the secrets in them."""


@dataclass
class Drift:
    """What one execution finds. On a task's first execution nothing is recorded, and this costs nothing.

    A hash that differs is a suspicion: what is recorded is read when it is needed, once, and settles it.
    """

    journal: Journal
    recorded: frozenset[str] = frozenset()
    """The keys that were recorded before this execution."""
    met: dict[str, Call] = field(default_factory=dict)
    definition: PipelineDefinition | None = None
    inputs: dict[str, str | None] | None = None
    """Recorded arguments by key, once they were read."""

    def begin(self, definition: PipelineDefinition) -> None:
        """Before the body runs. A strict pipeline's is stopped in the middle, where the database cannot be asked."""
        self.definition = definition
        self.recorded = frozenset(self.journal.entries)
        if self.is_strict and self.recorded:
            self.read_inputs(None)

    @property
    def is_strict(self) -> bool:
        """Whether drift fails the task."""
        return self.definition is not None and self.definition.policies.strict

    def of_step(
        self, step: StepDefinition, key: str, entry: Entry, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Failed | None:
        """Compare a recalled step's arguments with the recorded ones; how a strict task fails when they differ."""
        if entry.status not in RECALLED:
            return None
        try:
            written = step.arguments.write(args, kwargs, what="arguments")
        except Exception:  # noqa: BLE001 - validators are author code; a recalled step needs no arguments
            return None
        return self.compare(key, entry, Call(written, step.arguments, step.arguments.marks))

    def of_pauses(self, pauses: Sequence[context.Pause]) -> Failed | None:
        """The same for what a body waits for, or has waited for."""
        for each in pauses:
            entry = self.journal.entries.get(each.key)
            if entry is None or entry.is_to_be_called:
                continue
            if (failed := self.compare(each.key, entry, call_of(each))) is not None:
                return failed
        return None

    def compare(self, key: str, entry: Entry, call: Call) -> Failed | None:
        """Note a key that is met with other arguments than the recorded ones."""
        if entry.input_hash in UNWRITTEN or entry.input_hash == codec.fingerprint_of(call.written):
            return None
        self.met[key] = call
        if not self.is_strict or self.is_same(key):
            return None
        return self.failure(key, DriftKind.ARGUMENTS)

    def is_same(self, key: str) -> bool:
        """Whether the arguments are the same ones after all, written in another order."""
        call, recorded = self.met[key], self.recorded_input(key)
        if alike(now := codec.read(call.written), then := codec.read(recorded)):
            return True
        # A set is written in any order.
        is_reordered = call.arguments is not None and alike(unordered(now), unordered(then))
        return is_reordered and call.arguments is not None and call.arguments.are_equal(call.written, recorded)

    def judge(self, outcome: Outcome, *, asked: set[str]) -> Outcome:
        """Write what was found into an outcome that ends the task; of a strict pipeline it is what fails it.

        Only a body that has returned has asked for all that it ever will: one that pauses goes on later, and an error
        cuts it short.
        """
        if not isinstance(outcome, Succeeded | Failed):
            return outcome
        notes = self.notes(self.recorded - asked if isinstance(outcome, Succeeded) else ())
        if not notes:
            return outcome
        drift = codec.write(notes[:NOTED])
        broken = next((note for note in notes if note["kind"] != DriftKind.VERSION), None)
        if self.is_strict and broken is not None and isinstance(outcome, Succeeded):
            return replace(self.failure(broken["key"] or "", broken["kind"] or ""), drift=drift)
        return replace(outcome, drift=drift)

    def notes(self, unused: Iterable[str]) -> list[dict[str, str | None]]:
        """Every disagreement as it is kept: of the version, of arguments, and what the body did not ask for."""
        unused = sorted(unused)
        if self.met or unused:
            self.read_inputs([*self.met, *unused])
        found = list(self.of_version())
        found += [
            note_of(DriftKind.ARGUMENTS, key, self.shown(key, self.recorded_input(key)), self.shown(key, call.written))
            for key, call in self.met.items()
            if not self.is_same(key)
        ]
        return found + [
            note_of(DriftKind.UNUSED, key, self.shown(key, self.recorded_input(key)), None) for key in unused
        ]

    def of_version(self) -> Iterable[dict[str, str | None]]:
        """Whether the task's version is one that the code no longer has."""
        began_on = self.journal.lease.version
        if self.definition is not None and began_on != self.definition.policies.version:
            yield note_of(DriftKind.VERSION, "", began_on, self.definition.policies.version)

    def failure(self, key: str, kind: str) -> Failed:
        """How a strict pipeline's task fails."""
        code = fingerprint(self.definition) if self.definition is not None else ""
        return Failed(key, DriftError.__name__, codec.printable(explained(key, kind)), code=code)

    def recorded_input(self, key: str) -> str:
        """The recorded arguments of a key."""
        return (self.inputs or {}).get(key) or "null"

    def shown(self, key: str, written: str) -> str:
        """Arguments as they may be noted: without their secrets."""
        if key in self.met and (marks := self.met[key].marks):
            written = codec.write(masks.masked(codec.read(written), *marks))
        shown: str = masks.hidden(written, secrets_at(self.journal))
        return shown

    def read_inputs(self, keys: list[str] | None) -> None:
        """Read what the task's steps were called with, or these of them."""
        if self.inputs is None:
            rows = sql.fetch(sql.LOAD_INPUTS, {"task": self.journal.lease.task, "keys": keys})
            self.inputs = dict(rows)


def call_of(pause: context.Pause) -> Call:
    """What a pause is met with; one that has a step or another pipeline do something is given what that one takes."""
    marks: Sequence[masks.Schema] = ()
    if (offspring := pause.offspring) is not None:
        takes = registry.step(offspring.parallel_step).arguments if offspring.parallel_step else None
        marks = (takes or registry.get(offspring.pipeline).payload).marks
    return Call(pause.input, None, marks)


def note_of(kind: DriftKind, key: str, recorded: str, now: str | None) -> dict[str, str | None]:
    """A disagreement as it is kept."""
    return {"key": key, "kind": kind, "recorded": recorded[:SHOWN], "now": None if now is None else now[:SHOWN]}


def explained(key: str, kind: str) -> str:
    """A disagreement as a sentence. Without the arguments: whoever may not see them sees the task's error."""
    if kind == DriftKind.ARGUMENTS:
        return f"Step {key!r} is recorded with other arguments than it is called with now."
    return f"The body has ended and never asked for the recorded step {key!r}."


def alike(left: Any, right: Any) -> bool:
    """Whether two JSON values are the same to PostgreSQL: neither the order of keys counts, nor how a number is
    written."""
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(alike(value, right[name]) for name, value in left.items())
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(alike, left, right))
    return isinstance(left, bool) == isinstance(right, bool) and bool(left == right)


def unordered(value: Any) -> Any:
    """A JSON value with each of its lists sorted."""
    if isinstance(value, dict):
        return {name: unordered(item) for name, item in value.items()}
    if isinstance(value, list):
        return sorted(map(unordered, value), key=lambda item: json.dumps(item, sort_keys=True))
    return value
