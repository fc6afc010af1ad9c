"""The steps of a pipeline as a drawing: SVG from Python, without a script and without inline styles.

From the top down in the order in which tasks recorded them; steps that run beside each other stand side by side.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from taskqueue.admin import formats
from taskqueue.admin.pipeline_figures import share_of
from taskqueue.engine.samples import StepFigures
from taskqueue.states import StepKind

WIDTH, HEIGHT = 232, 54
GAP, RISE = 20, 30
NAME_LENGTH = 27
MOST_BESIDE = 4
"""More of them in one row are drawn in several."""
WORDS = {
    StepKind.BRANCH: "beside others",
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
    def is_beside_others(self) -> bool:
        """Whether it runs beside its neighbours."""
        return self.figures is not None and self.figures.kind == StepKind.BRANCH

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
            return "in none of the recent tasks"
        retries = formats.count_of(self.retries, "failed attempt") if self.retries else ""
        return ", ".join(filter(None, [self.kind, self.share, self.median, retries]))

    @property
    def mark(self) -> str:
        """The class of its box."""
        if self.figures is None:
            return "tq-node tq-unseen"
        return "tq-node tq-is-failed" if self.figures.failed else "tq-node"


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


def rows_of(nodes: Iterable[Node]) -> list[list[Node]]:
    """The nodes in rows: one each, neighbours that run beside each other together."""
    rows: list[list[Node]] = []
    for node in nodes:
        joins = rows and node.is_beside_others and rows[-1][-1].is_beside_others and len(rows[-1]) < MOST_BESIDE
        if joins:
            rows[-1].append(node)
        else:
            rows.append([node])
    return rows


def drawn(nodes: Sequence[Node]) -> SafeString:
    """The drawing; nothing when there are no steps."""
    rows = rows_of(nodes)
    if not rows:
        return SafeString("")
    width = max(len(row) for row in rows) * (WIDTH + GAP) - GAP + 2
    height = len(rows) * (HEIGHT + RISE) - RISE + 2
    boxes = [
        box(node, x, 1 + number * (HEIGHT + RISE))
        for number, row in enumerate(rows)
        for node, x in zip(row, places(row, width), strict=True)
    ]
    lines = [
        line(start + WIDTH / 2, end + WIDTH / 2, 1 + number * (HEIGHT + RISE) + HEIGHT)
        for number, (row, following) in enumerate(pairwise(rows))
        for start in places(row, width)
        for end in places(following, width)
    ]
    names = ", then ".join(" beside ".join(node.name for node in row) for row in rows)
    return format_html(
        '<svg class="tq-graph" role="img" aria-label="{}" width="{}" height="{}" viewBox="0 0 {} {}">{}{}</svg>',
        f"The steps: {names}.", width, height, width, height, join(lines), join(boxes),
    )  # fmt: skip


def places(row: Sequence[Node], width: int) -> list[float]:
    """Where the boxes of a row begin, so that it stands in the middle."""
    own = len(row) * (WIDTH + GAP) - GAP
    return [(width - own) / 2 + number * (WIDTH + GAP) for number in range(len(row))]


def box(node: Node, x: float, y: float) -> SafeString:
    """One step."""
    name = node.name if len(node.name) <= NAME_LENGTH else node.name[: NAME_LENGTH - 1] + "…"
    return format_html(
        '<g class="{}"><title>{}: {}</title><rect x="{}" y="{}" width="{}" height="{}" rx="8"/>'
        '<text class="tq-node-name" x="{}" y="{}">{}</text><text class="tq-node-line" x="{}" y="{}">{}</text></g>',
        node.mark, node.name, node.line, x, y, WIDTH, HEIGHT, x + 12, y + 22, name, x + 12, y + 41, short(node),
    )  # fmt: skip


def short(node: Node) -> str:
    """What fits into a box."""
    return node.line if len(node.line) <= NAME_LENGTH + 9 else node.line[: NAME_LENGTH + 8] + "…"


def line(start: float, end: float, y: float) -> SafeString:
    """From one box to the next, with its arrow."""
    tip = y + RISE
    middle = y + RISE / 2
    return format_html(
        '<path class="tq-edge" d="M{} {}C{} {} {} {} {} {}M{} {}L{} {}L{} {}"/>',
        start, y, start, middle, end, middle, end, tip - 2,
        end - 4, tip - 7, end, tip - 2, end + 4, tip - 7,
    )  # fmt: skip


def join(parts: Iterable[SafeString]) -> SafeString:
    """Parts one after the other."""
    return format_html_join("", "{}", ((part,) for part in parts))
