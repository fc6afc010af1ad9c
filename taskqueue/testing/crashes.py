"""Crash safety: a task is run again and again, and its worker dies at another moment each time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any, Final

from django.apps import apps
from django.db import transaction

from taskqueue.models import Step
from taskqueue.states import StepStatus
from taskqueue.testing.deaths import Called, Crew, Moment
from taskqueue.testing.events import Given
from taskqueue.testing.inline import Play
from taskqueue.testing.runs import Run

NOT_THE_AUTHORS: Final = {"taskqueue", "django_q", "contenttypes", "sessions", "admin"}
SHOWN: Final = 300
TWICE: Final = 2


class NotCrashSafe(AssertionError):
    """A death of the worker at some moment shows in what a task leaves."""


@dataclass(frozen=True)
class CrashReport:
    """What was tried.

    Attributes:
        commits: how often a run without a crash commits.
        crashes: how many runs with a crash there were: one right before and one right after each commit.
        repeated: the steps that ran again after a crash, and did no harm by it.
        result_compared: whether the results were compared. Not if two runs without a crash differ in theirs.
    """

    commits: int
    crashes: int
    repeated: tuple[str, ...]
    result_compared: bool


def assert_crash_safe(
    pipeline: Any,
    /,
    *args: Any,
    events: Iterable[Given] = (),
    effects: Callable[[], Any] | None = None,
    reset: Callable[[], Any] | None = None,
    **kwargs: Any,
) -> CrashReport:
    """See that it makes no difference to a task when its worker dies, right before or right after any of its commits.

    The task is run to its end once for each such moment, as `run_inline` does it; another worker takes it up after the
    crash. All that a run writes to the database is undone before the next one.

    Args:
        pipeline: the pipeline, or one with options.
        args: what it is enqueued with; `kwargs` by name.
        events: as for `run_inline`.
        effects: called at the end of each run: what the run has done, wherever it did it, as something that can be
            compared. The numbers of rows of the project's models are compared anyway.
        reset: called before each run, to put back what is outside of the database.

    Raises:
        NotCrashSafe: a step ran twice and the effects show it, or a crash changed the result or the record.
    """
    rehearsal = Rehearsal(pipeline, args, kwargs, list(events), effects, reset)
    expected, again = rehearsal.run(None), rehearsal.run(None)
    if expected.effects != again.effects:
        raise NotCrashSafe(
            "Two runs without any crash differ in their effects, so a crash would not show. Have `effects` look at "
            f"what one run does, and `reset` put it back: {shown(expected.effects)}, then {shown(again.effects)}."
        )
    judge = Judge(expected, compare_results=expected.ending == again.ending)
    for moment in moments(expected.commits):
        judge.look_at(moment, rehearsal.run(moment))
    if judge.faults:
        faults = "".join(f"\n- {fault}\n    {seen}" for fault, seen in judge.faults.items())
        raise NotCrashSafe(f"{expected.run.definition.name} is not safe from crashes ({judge.tried} tried):{faults}")
    return CrashReport(expected.commits, judge.tried, tuple(sorted(judge.repeated)), judge.compare_results)


def moments(commits: int) -> Iterator[Moment]:
    """Before and after each of so many commits."""
    for commit in range(1, commits + 1):
        yield Moment(commit, after=False)
        yield Moment(commit, after=True)


@dataclass(frozen=True)
class Trial:
    """One run, and what it left."""

    run: Run[Any]
    crew: Crew
    effects: Any
    recorded: dict[str, Any]
    recorded_before: dict[str, Any]
    calls_before: Counter[Called]

    @property
    def commits(self) -> int:
        """How often it has committed, until its first worker died."""
        return self.crew.fate.commits

    @property
    def calls(self) -> Counter[Called]:
        """How often each step was called."""
        return self.crew.activity.calls

    @property
    def ending(self) -> tuple[str, Any, str]:
        """How it ended, with what."""
        return str(self.run.status), self.run.task.result, str(self.run.error or "")


@dataclass
class Rehearsal:
    """The same task, as often as one likes."""

    pipeline: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    events: list[Given]
    effects: Callable[[], Any] | None
    reset: Callable[[], Any] | None

    def run(self, moment: Moment | None) -> Trial:
        """Run it to its end, with a crash at this moment, and undo what it did to the database."""
        if self.reset is not None:
            self.reset()
        with transaction.atomic():
            trial = self._run(moment)
            transaction.set_rollback(True)
        return trial

    def _run(self, moment: Moment | None) -> Trial:
        task = self.pipeline.enqueue(*self.args, **self.kwargs)
        before: dict[str, Any] = {}
        calls: Counter[Called] = Counter()

        def died() -> None:
            before.update(outputs_of(task.pk))
            calls.update(crew.activity.calls)

        crew = Crew(moment, died=died)
        run = Play(self.pipeline.definition, task.pk, list(self.events)).to_the_end(crew)
        crew.leave()
        return Trial(run, crew, self._observed(), outputs_of(task.pk), before, calls)

    def _observed(self) -> dict[str, Any]:
        """What the run has done."""
        rows = {model._meta.label: model._base_manager.count() for model in the_authors_models()}
        seen = {f"rows of {label}": number for label, number in rows.items() if number}
        return {**seen, "effects": deepcopy(self.effects())} if self.effects is not None else seen


def the_authors_models() -> list[Any]:
    """The project's models, but for those that count nothing of what a task does."""
    return [
        model
        for model in apps.get_models()
        if model._meta.managed and not model._meta.proxy and model._meta.app_label not in NOT_THE_AUTHORS
    ]


def outputs_of(task: Any) -> dict[str, Any]:
    """The outputs that are recorded of a task, by key."""
    done = Step.objects.filter(task=task, status=StepStatus.SUCCEEDED)
    return dict(done.values_list("key", "output"))


@dataclass
class Judge:
    """Compares runs with a crash to the one without."""

    expected: Trial
    compare_results: bool
    tried: int = 0
    repeated: set[str] = field(default_factory=set)
    faults: dict[str, str] = field(default_factory=dict)

    def look_at(self, moment: Moment, trial: Trial) -> None:
        """Note what a crash at this moment has changed."""
        if not trial.crew.fate.dead:
            return  # this run took another way, and was over before that
        self.tried += 1
        where = f"in step {trial.crew.fate.step!r}" if trial.crew.fate.step else "between steps"
        when = f"a crash {moment} ({where}) of {self.expected.commits}"
        more = {called for called, number in trial.calls.items() if number > self.expected.calls[called]}
        if trial.effects != self.expected.effects:
            for fault in self._to_blame(more, trial):
                self._note(fault, f"{when}: {difference(self.expected.effects, trial.effects)}")
        else:
            self.repeated |= {self._named(called).replace("'", "") for called in more}
        for fault in self._broken(trial):
            self._note(fault, f"{when}.")

    def _to_blame(self, more: set[Called], trial: Trial) -> list[str]:
        """Who has done something twice."""
        if not more:
            return ["the body itself has effects, which happen each time that it runs: put them into a step"]
        faults = []
        for called in sorted(more):
            ran = "twice" if trial.calls[called] == TWICE else f"{trial.calls[called]} times"
            if called in trial.crew.activity.atomic:
                cure = "step.atomic undoes what it wrote to the database and nothing else: give the remote call a key"
            else:
                cure = "make it step.atomic or give the remote call a key"
            faults.append(f"step {self._named(called)} ran {ran} and is not safe to repeat: {cure}")
        return faults

    def _broken(self, trial: Trial) -> Iterator[str]:
        """What must not depend on a crash, and did."""
        if trial.ending[0] != self.expected.ending[0]:
            yield f"the task ended as {trial.ending[0]!r} rather than {self.expected.ending[0]!r}: {trial.run.error}"
        elif self.compare_results and trial.ending != self.expected.ending:
            yield f"the task ended with {shown(trial.ending[1:])} rather than {shown(self.expected.ending[1:])}"
        if set(trial.recorded) != set(self.expected.recorded):
            differing = sorted(set(trial.recorded) ^ set(self.expected.recorded))
            yield f"other steps are recorded: {', '.join(differing)}"
        for key, output in trial.recorded_before.items():
            if trial.recorded.get(key) != output:
                yield f"the output of step {key!r} was recorded before the crash, and is another one after it"
            called = (self.expected.run.definition.name, key)
            if trial.calls[called] > trial.calls_before[called] > 0:
                yield f"step {key!r} ran again although its output was recorded"

    def _named(self, called: Called) -> str:
        """A step's key, with its pipeline if it is not the one in question."""
        pipeline, key = called
        return repr(key) if pipeline == self.expected.run.definition.name else f"{key!r} of {pipeline}"

    def _note(self, fault: str, seen: str) -> None:
        """Keep the first time that it was seen."""
        self.faults.setdefault(fault, seen)


def difference(expected: dict[str, Any], found: dict[str, Any]) -> str:
    """Where two observations differ."""
    names = [name for name in {**expected, **found} if expected.get(name) != found.get(name)]
    return "; ".join(f"{name}: {shown(found.get(name, 0))} instead of {shown(expected.get(name, 0))}" for name in names)


def shown(value: Any) -> str:
    """A value, not too long."""
    text = repr(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"
