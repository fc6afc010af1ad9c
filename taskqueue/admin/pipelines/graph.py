"""The steps of a pipeline as a flow of boxes, in the order in which tasks recorded them.

Steps that run in parallel share a stage. The boxes are text in the page's own layout, so that they wrap on a narrow
screen, where a drawing of a fixed width would be cut.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from taskqueue.admin.pipelines.stats import share_of
from taskqueue.admin.shared import formats
from taskqueue.engine.queries.samples import StepFigures
from taskqueue.states import StepKind

WORDS = {
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
        figures: None when no recent task has recorded it.
    """

    name: str
    figures: StepFigures | None = None

    @property
    def kind(self) -> str:
        """What kind of step it is, in words; empty for a plain one."""
        return WORDS.get(StepKind(self.figures.kind), "") if self.figures is not None else ""

    @property
    def is_parallel(self) -> bool:
        """Whether it runs in parallel with its neighbours."""
        return self.figures is not None and self.figures.kind == StepKind.PARALLEL

    @property
    def share(self) -> str:
        """The share of those that succeeded."""
        return share_of(self.figures.succeeded, self.figures.failed) if self.figures is not None else ""

    @property
    def median(self) -> str:
        """How long half of those that succeeded took at the most."""
        return formats.duration(self.figures.median) if self.figures is not None else formats.NOTHING

    @property
    def retries(self) -> int:
        """Failed attempts."""
        return self.figures.retries if self.figures is not None else 0

    @property
    def line(self) -> str:
        """All of it on one line."""
        if self.figures is None:
            return "not run recently"
        retries = formats.count_of(self.retries, "failed attempt") if self.retries else ""
        median = self.median if self.figures.median is not None else ""
        return ", ".join(filter(None, [self.kind, self.share, median, retries]))

    @property
    def mark(self) -> str:
        """The class of its box."""
        if self.figures is None:
            return "tq-box tq-unseen"
        return "tq-box tq-is-failed" if self.figures.failed else "tq-box"


def nodes_of(seen: Sequence[StepFigures], known: Iterable[str]) -> list[Node]:
    """The steps that tasks recorded in their order, each unseen one after the known one that goes before it."""
    nodes = [Node(name=figures.name, figures=figures) for figures in seen]
    before = ""
    for name in known:
        names = [node.name for node in nodes]
        if name not in names:
            nodes.insert(names.index(before) + 1 if before in names else 0, Node(name=name))
        before = name
    return nodes


def stages_of(nodes: Iterable[Node]) -> list[list[Node]]:
    """The nodes in stages: one each, neighbours that run in parallel together."""
    stages: list[list[Node]] = []
    for node in nodes:
        if stages and node.is_parallel and stages[-1][-1].is_parallel:
            stages[-1].append(node)
        else:
            stages.append([node])
    return stages
