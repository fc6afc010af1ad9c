"""The steps of a pipeline as a row of boxes, in the order in which tasks recorded them.

Parallel steps share a stage. The boxes are text in the page's layout, so that they wrap on a narrow screen, where a
drawing of fixed width would be cut.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from taskqueue.admin.pipelines.stats import success_rate
from taskqueue.admin.shared import formats
from taskqueue.engine.queries.pipeline_stats import StepStats
from taskqueue.models import PipelineStep
from taskqueue.states import StepKind

KIND_NAMES = {
    StepKind.PARALLEL: "parallel",
    StepKind.CHILD: "child task",
    StepKind.SLEEP: "sleep",
    StepKind.WAIT: "wait",
    StepKind.EMIT: "emit",
}


@dataclass(frozen=True, kw_only=True)
class Node:
    """A step as it is drawn and listed.

    Attributes:
        stats: None when no recent task has recorded it.
        registered: None when the code does not name it.
    """

    name: str
    stats: StepStats | None = None
    registered: PipelineStep | None = None

    @property
    def kind(self) -> str:
        return KIND_NAMES.get(StepKind(self.stats.kind), "") if self.stats is not None else ""

    @property
    def is_parallel(self) -> bool:
        return self.stats is not None and self.stats.kind == StepKind.PARALLEL

    @property
    def success_rate(self) -> str:
        return success_rate(self.stats.succeeded, self.stats.failed) if self.stats is not None else ""

    @property
    def median(self) -> str:
        return formats.duration(self.stats.median) if self.stats is not None else formats.EMPTY_VALUE

    @property
    def failed_attempts(self) -> int:
        return self.stats.retries if self.stats is not None else 0

    @property
    def retry(self) -> str:
        return formats.EMPTY_VALUE if self.registered is None else formats.retry_policy(self.registered.retry)

    @property
    def timeout(self) -> str:
        if self.registered is None:
            return formats.EMPTY_VALUE
        timeout = self.registered.timeout
        return "none" if timeout is None else formats.compact_duration(timeout.total_seconds())

    @property
    def atomic(self) -> str:
        return formats.EMPTY_VALUE if self.registered is None else "yes" if self.registered.atomic else "no"

    @property
    def summary(self) -> str:
        if self.stats is None:
            return "not run recently"
        attempts = formats.count_of(self.failed_attempts, "failed attempt") if self.failed_attempts else ""
        median = self.median if self.stats.median is not None else ""
        return ", ".join(filter(None, [self.kind, self.success_rate, median, attempts]))

    @property
    def css_class(self) -> str:
        if self.stats is None:
            return "tq-box tq-unseen"
        return "tq-box tq-is-failed" if self.stats.failed else "tq-box"


def nodes_of(recorded: Sequence[StepStats], registered: Iterable[str]) -> list[Node]:
    """The recorded steps, with each registered step that was not recorded after its predecessor in the code."""
    nodes = [Node(name=stats.name, stats=stats) for stats in recorded]
    before = ""
    for name in registered:
        names = [node.name for node in nodes]
        if name not in names:
            nodes.insert(names.index(before) + 1 if before in names else 0, Node(name=name))
        before = name
    return nodes


def stages_of(nodes: Iterable[Node]) -> list[list[Node]]:
    """The nodes in stages: neighbouring parallel steps together, every other node alone."""
    stages: list[list[Node]] = []
    for node in nodes:
        if stages and node.is_parallel and stages[-1][-1].is_parallel:
            stages[-1].append(node)
        else:
            stages.append([node])
    return stages
