"""Drift: where a task's recorded steps and the code that runs it now disagree."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, NamedTuple

from taskqueue import context, masks
from taskqueue.definitions import PipelineDefinition, StepDefinition, fingerprint, registry
from taskqueue.engine import sql
from taskqueue.engine.execution.journal import Entry, Journal
from taskqueue.engine.execution.secrets import secrets_at
from taskqueue.engine.runtime.outcomes import Failed, Outcome, Succeeded
from taskqueue.errors import Drift as DriftError
from taskqueue.json_values import codec
from taskqueue.json_values.typed import Arguments
from taskqueue.states import DriftKind, StepStatus

ARGUMENTS_MAX_LENGTH: Final = 2_000
"""Characters of a call's arguments that a note keeps."""

NOTES_MAX: Final = 100

NO_ARGUMENTS: Final = ("", codec.fingerprint_of(""))
"""Hashes that stand for arguments that could not be written."""

REPLAYED: Final = (StepStatus.SUCCEEDED, StepStatus.FAILED)


class Requested(NamedTuple):
    """The arguments with which the code now calls a recorded step."""

    written: str
    """As JSON."""
    arguments: Arguments | None
    """Compares them as values; None for a wait."""
    secret_schemas: Sequence[masks.Schema]
    """The schemas that mark their secrets."""


@dataclass
class Drift:
    """The drift that one execution finds. A task's first execution has nothing recorded, and this costs nothing.

    A hash that differs is only a suspicion. The recorded arguments decide, and are read once, when they are needed.
    """

    journal: Journal
    recorded: frozenset[str] = frozenset()
    """The keys that were recorded before this execution."""
    suspects: dict[str, Requested] = field(default_factory=dict)
    """Steps whose arguments have another hash than the recorded ones."""
    definition: PipelineDefinition | None = None
    inputs: dict[str, str | None] | None = None
    """Recorded arguments by key, once they are read."""

    def begin(self, definition: PipelineDefinition) -> None:
        """Prepare before the body runs: a strict one is stopped in the middle, where no query can be made."""
        self.definition = definition
        self.recorded = frozenset(self.journal.entries)
        if self.is_strict and self.recorded:
            self.read_inputs(None)

    @property
    def is_strict(self) -> bool:
        return self.definition is not None and self.definition.policies.strict

    def of_step(
        self, step: StepDefinition, key: str, entry: Entry, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Failed | None:
        """Compare a replayed step with its record. Returns how a strict task fails when the arguments differ."""
        if entry.status not in REPLAYED:
            return None
        try:
            written = step.arguments.write(args, kwargs, what="arguments")
        except Exception:  # noqa: BLE001 - validators are author code; a replayed step needs no arguments
            return None
        return self.compare(key, entry, Requested(written, step.arguments, step.arguments.secret_schemas))

    def of_pauses(self, pauses: Sequence[context.Suspension]) -> Failed | None:
        """Compare what a body waits for, or has waited for, in the same way."""
        entries = self.journal.entries
        recorded = [(each, entries[each.key]) for each in pauses if each.key in entries]
        compared = (
            self.compare(each.key, entry, requested_by(each)) for each, entry in recorded if not entry.will_be_called
        )
        return next(filter(None, compared), None)

    def compare(self, key: str, entry: Entry, requested: Requested) -> Failed | None:
        """Note a step that is called with other arguments than the recorded ones."""
        if entry.input_hash in NO_ARGUMENTS or entry.input_hash == codec.fingerprint_of(requested.written):
            return None
        self.suspects[key] = requested
        if not self.is_strict or self.is_same(key):
            return None
        return self.failure(key, DriftKind.ARGUMENTS)

    def is_same(self, key: str) -> bool:
        """Whether a suspect's arguments are equal after all, and only written in another order."""
        requested, recorded = self.suspects[key], self.recorded_input(key)
        if alike(now := codec.read(requested.written), then := codec.read(recorded)):
            return True
        # A set is written in any order.
        if requested.arguments is None or not alike(unordered(now), unordered(then)):
            return False
        return requested.arguments.are_equal(requested.written, recorded)

    def judge(self, outcome: Outcome, *, requested: set[str]) -> Outcome:
        """Write the drift into an outcome that ends the task. A strict pipeline's task fails because of it.

        Only a body that has returned has requested all of its steps: one that suspends continues later, and an error
        cuts it short.
        """
        if not isinstance(outcome, Succeeded | Failed):
            return outcome
        notes = self.notes(self.recorded - requested if isinstance(outcome, Succeeded) else ())
        if not notes:
            return outcome
        drift = codec.write(notes[:NOTES_MAX])
        broken = next((note for note in notes if note["kind"] != DriftKind.VERSION), None)
        if self.is_strict and broken is not None and isinstance(outcome, Succeeded):
            return replace(self.failure(broken["key"] or "", broken["kind"] or ""), drift=drift)
        return replace(outcome, drift=drift)

    def notes(self, unused: Iterable[str]) -> list[dict[str, str | None]]:
        """The notes to keep: on the version, on arguments, and on recorded steps that the body did not request."""
        unused = sorted(unused)
        if self.suspects or unused:
            self.read_inputs([*self.suspects, *unused])
        notes = list(self.of_version())
        notes += [
            note(
                DriftKind.ARGUMENTS, key, self.shown(key, self.recorded_input(key)), self.shown(key, requested.written)
            )
            for key, requested in self.suspects.items()
            if not self.is_same(key)
        ]
        return notes + [note(DriftKind.UNUSED, key, self.shown(key, self.recorded_input(key)), None) for key in unused]

    def of_version(self) -> Iterable[dict[str, str | None]]:
        """A note when the code no longer has the version that the task began with."""
        version = self.journal.lease.version
        if self.definition is not None and version != self.definition.policies.version:
            yield note(DriftKind.VERSION, "", version, self.definition.policies.version)

    def failure(self, key: str, kind: str) -> Failed:
        code = fingerprint(self.definition) if self.definition is not None else ""
        return Failed(key, DriftError.__name__, codec.printable(explanation(key, kind)), code=code)

    def recorded_input(self, key: str) -> str:
        return (self.inputs or {}).get(key) or "null"

    def shown(self, key: str, written: str) -> str:
        if key in self.suspects and (marks := self.suspects[key].secret_schemas):
            written = codec.write(masks.masked(codec.read(written), *marks))
        shown: str = masks.hidden(written, secrets_at(self.journal))
        return shown

    def read_inputs(self, keys: list[str] | None) -> None:
        """Read the recorded arguments of these steps, or of all."""
        if self.inputs is None:
            rows = sql.fetch(sql.LOAD_INPUTS, {"task": self.journal.lease.task, "keys": keys})
            self.inputs = dict(rows)


def requested_by(pause: context.Suspension) -> Requested:
    """The arguments of a wait; a parallel step and a child are marked by the step's or the child's own schema."""
    marks: Sequence[masks.Schema] = ()
    if (child_spec := pause.child_spec) is not None:
        arguments = registry.step(child_spec.parallel_step).arguments if child_spec.parallel_step else None
        marks = (arguments or registry.get(child_spec.pipeline).payload).secret_schemas
    return Requested(pause.input, None, marks)


def note(kind: DriftKind, key: str, recorded: str, now: str | None) -> dict[str, str | None]:
    return {
        "key": key,
        "kind": kind,
        "recorded": recorded[:ARGUMENTS_MAX_LENGTH],
        "now": None if now is None else now[:ARGUMENTS_MAX_LENGTH],
    }


def explanation(key: str, kind: str) -> str:
    """The task's error. It names no arguments: viewers who may not see them do see the error."""
    if kind == DriftKind.ARGUMENTS:
        return f"Step {key!r} is recorded with other arguments than it is called with now."
    return f"The body has ended without requesting the recorded step {key!r}."


def alike(left: Any, right: Any) -> bool:
    """Whether two JSON values are equal to PostgreSQL, whatever the order of keys and the form of numbers."""
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(alike(value, right[name]) for name, value in left.items())
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(alike, left, right))
    return isinstance(left, bool) == isinstance(right, bool) and bool(left == right)


def unordered(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: unordered(item) for name, item in value.items()}
    if isinstance(value, list):
        return sorted(map(unordered, value), key=lambda item: json.dumps(item, sort_keys=True))
    return value
