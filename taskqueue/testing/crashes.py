"""Crash safety: a task is run again and again, and its worker crashes at another commit each time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from copy import deepcopy
from dataclasses import dataclass, field
from itertools import product, starmap
from typing import Any, Final

from django.apps import apps
from django.db import transaction

from taskqueue.testing.events import GivenEvent
from taskqueue.testing.inline import InlineRun
from taskqueue.testing.runs import Run
from taskqueue.testing.simulated_crashes import CrashingWorker, CrashPoint, StepCall

OTHER_APPS: Final = {"taskqueue", "django_q", "contenttypes", "sessions", "admin"}
MAX_SHOWN: Final = 300
TWICE: Final = 2


class NotCrashSafe(AssertionError):
    """A crash of the worker at some commit changes what a task does."""


@dataclass(frozen=True)
class CrashReport:
    """The result of `assert_crash_safe`.

    Attributes:
        commits: the number of commits of a run without a crash.
        crashes: the number of runs with a crash: one right before and one right after each commit.
        repeated: the steps that were repeated after a crash without harm.
        result_compared: whether the results were compared; not if two runs without a crash have different results.
    """

    commits: int
    crashes: int
    repeated: tuple[str, ...]
    result_compared: bool


def assert_crash_safe(
    pipeline: Any,
    /,
    *args: Any,
    events: Iterable[GivenEvent] = (),
    effects: Callable[[], Any] | None = None,
    reset: Callable[[], Any] | None = None,
    **kwargs: Any,
) -> CrashReport:
    """Check that a task ends alike when its worker crashes right before or right after any of its commits.

    The task runs to its end once for each such point, as by `run_inline`; another worker continues after the crash. All
    writes of a run to the database are rolled back before the next run.

    Args:
        pipeline, args, kwargs, events: as for `run_inline`.
        effects: called at the end of each run; returns the effects of the run, anywhere, as a value that can be
            compared. The numbers of rows of the project's models are always compared.
        reset: called before each run, to undo effects outside of the database.

    Raises:
        NotCrashSafe: a repeated step changed the effects, or a crash changed the result or the record.
    """
    crash_test = CrashTest(pipeline, args, kwargs, list(events), effects, reset)
    expected, again = crash_test.run(None), crash_test.run(None)
    if expected.effects != again.effects:
        raise NotCrashSafe(
            "Two runs without any crash differ in their effects, so a crash would not show. Have `effects` look at "
            f"what one run does, and `reset` undo it: {shortened(expected.effects)}, then {shortened(again.effects)}."
        )
    comparison = Comparison(expected, compare_results=expected.end == again.end)
    for point in starmap(CrashPoint, product(range(1, expected.commits + 1), (False, True))):
        comparison.add(point, crash_test.run(point))
    if comparison.problems:
        problems = "".join(f"\n- {problem}\n    {example}" for problem, example in comparison.problems.items())
        name = expected.run.definition.name
        raise NotCrashSafe(f"{name} is not crash-safe ({comparison.crashes} crashes tested):{problems}")
    return CrashReport(
        expected.commits, comparison.crashes, tuple(sorted(comparison.repeated)), comparison.compare_results
    )


@dataclass(frozen=True)
class Execution:
    """One run, and its effects."""

    run: Run[Any]
    worker: CrashingWorker
    effects: Any
    outputs: dict[str, Any]

    @property
    def commits(self) -> int:
        """The number of commits until the first worker crashed."""
        return self.worker.injector.commits

    @property
    def calls(self) -> Counter[StepCall]:
        return self.worker.activity.calls

    @property
    def end(self) -> tuple[str, Any, str]:
        """Its status, result and error."""
        return str(self.run.status), self.run.task.result, str(self.run.error or "")


@dataclass
class CrashTest:
    """One task that can be run any number of times."""

    pipeline: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    events: list[GivenEvent]
    effects: Callable[[], Any] | None
    reset: Callable[[], Any] | None

    def run(self, point: CrashPoint | None) -> Execution:
        """Run the task to its end, with a crash at this point, and roll back its writes."""
        if self.reset is not None:
            self.reset()
        with transaction.atomic():
            task = self.pipeline.enqueue(*self.args, **self.kwargs)
            worker = CrashingWorker(point, task.pk)
            run = InlineRun(self.pipeline.definition, task.pk, list(self.events)).run(worker)
            worker.leave()
            execution = Execution(run, worker, self._effects(), run.steps)
            transaction.set_rollback(True)
        return execution

    def _effects(self) -> dict[str, Any]:
        rows = {model._meta.label: model._base_manager.count() for model in project_models()}
        example = {f"rows of {label}": number for label, number in rows.items() if number}
        return {**example, "effects": deepcopy(self.effects())} if self.effects is not None else example


def project_models() -> list[Any]:
    return [
        model
        for model in apps.get_models()
        if model._meta.managed and not model._meta.proxy and model._meta.app_label not in OTHER_APPS
    ]


@dataclass
class Comparison:
    """Compares runs with a crash to the run without one."""

    expected: Execution
    compare_results: bool
    crashes: int = 0
    repeated: set[str] = field(default_factory=set)
    problems: dict[str, str] = field(default_factory=dict)

    def add(self, point: CrashPoint, execution: Execution) -> None:
        if not execution.worker.injector.dead:
            return  # this run took another path, and ended before this commit
        self.crashes += 1
        where = f"in step {execution.worker.injector.step!r}" if execution.worker.injector.step else "between steps"
        when = f"a crash {point} ({where}) of {self.expected.commits}"
        more = {called for called, number in execution.calls.items() if number > self.expected.calls[called]}
        if execution.effects != self.expected.effects:
            for problem in self._repetitions(more, execution):
                self.problems.setdefault(problem, f"{when}: {difference(self.expected.effects, execution.effects)}")
        else:
            self.repeated |= {self._step_name(called).replace("'", "") for called in more}
        for problem in self._changes(execution):
            self.problems.setdefault(problem, f"{when}.")

    def _repetitions(self, more: set[StepCall], execution: Execution) -> list[str]:
        if not more:
            return ["the body itself has effects, which are repeated whenever it runs: move them into a step"]
        problems = []
        for called in sorted(more):
            ran = "twice" if execution.calls[called] == TWICE else f"{execution.calls[called]} times"
            if called in execution.worker.activity.atomic:
                remedy = "step.atomic rolls back only its writes to the database: give the remote call a key"
            else:
                remedy = "make it step.atomic or give the remote call a key"
            problems.append(f"step {self._step_name(called)} ran {ran} and is not safe to repeat: {remedy}")
        return problems

    def _changes(self, execution: Execution) -> Iterator[str]:
        if execution.end[0] != self.expected.end[0]:
            yield f"the task ended as {execution.end[0]!r} rather than {self.expected.end[0]!r}: {execution.run.error}"
        elif self.compare_results and execution.end != self.expected.end:
            yield f"the task ended with {shortened(execution.end[1:])} rather than {shortened(self.expected.end[1:])}"
        if differing := execution.outputs.keys() ^ self.expected.outputs.keys():
            yield f"other steps are recorded: {', '.join(sorted(differing))}"
        worker = execution.worker
        for key, output in worker.outputs_before.items():
            if execution.outputs.get(key) != output:
                yield f"the output of step {key!r} was recorded before the crash, and is different after it"
            called = (self.expected.run.definition.name, key)
            if execution.calls[called] > worker.calls_before[called] > 0:
                yield f"step {key!r} ran again although its output was recorded"

    def _step_name(self, called: StepCall) -> str:
        pipeline, key = called
        return repr(key) if pipeline == self.expected.run.definition.name else f"{key!r} of {pipeline}"


def difference(expected: dict[str, Any], found: dict[str, Any]) -> str:
    names = [name for name in {**expected, **found} if expected.get(name) != found.get(name)]
    return "; ".join(
        f"{name}: {shortened(found.get(name, 0))} instead of {shortened(expected.get(name, 0))}" for name in names
    )


def shortened(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}…"
