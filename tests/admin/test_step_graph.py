"""The drawing of a pipeline's steps."""

from __future__ import annotations

from datetime import timedelta
from xml.etree import ElementTree

from taskqueue.admin.step_graph import Node, drawn, nodes_of, rows_of
from taskqueue.engine.samples import StepFigures


def seen(name: str, kind: str = "step", **more) -> StepFigures:
    return StepFigures(name=name, kind=kind, **more)


def tree_of(nodes: list[Node]) -> ElementTree.Element:
    return ElementTree.fromstring(drawn(nodes))  # noqa: S314 - our own drawing


def boxes_of(tree: ElementTree.Element) -> list[tuple[float, float]]:
    return [(float(box.attrib["x"]), float(box.attrib["y"])) for box in tree.iter("rect")]


def names_of(nodes: list[Node]) -> list[str]:
    return [node.name for node in nodes]


def test_an_unseen_step_stands_behind_the_known_one_before_it():
    nodes = nodes_of([seen("b"), seen("helper"), seen("d")], ["a", "b", "c", "d", "e"])

    assert names_of(nodes) == ["a", "b", "c", "helper", "d", "e"]
    assert [node.figures is None for node in nodes] == [True, False, True, False, False, True]


def test_steps_beside_each_other_stand_side_by_side_and_all_others_below():
    nodes = nodes_of([seen("start"), seen("left", "branch"), seen("right", "branch"), seen("end")], [])

    assert [names_of(row) for row in rows_of(nodes)] == [["start"], ["left", "right"], ["end"]]
    tree = tree_of(nodes)
    start, left, right, end = boxes_of(tree)
    assert (start[0], left[1]) == (end[0], right[1])
    assert left[0] < right[0]
    assert start[1] < left[1] < end[1]
    assert len(list(tree.iter("path"))) == 4
    assert tree.attrib["aria-label"] == "The steps: start, then left beside right, then end."


def test_a_step_says_how_it_does():
    node = Node(
        name="call",
        figures=seen("call", succeeded=199, failed=1, retries=3, median=timedelta(milliseconds=453), tasks=200),
    )

    assert node.line == "99.5%, 453ms, 3 failed attempts"
    assert Node(name="call").line == "in none of the recent tasks"
    assert "call: 99.5%, 453ms, 3 failed attempts" in "".join(tree_of([node]).itertext())


def test_a_name_is_text_and_never_markup():
    name = '<script>alert("x")</script>&'

    tree = tree_of(nodes_of([seen(name)], []))

    assert f"{name}: " in "".join(tree.itertext())
    assert list(tree.iter("script")) == []


def test_no_steps_are_no_drawing_and_many_branches_take_several_rows():
    assert drawn([]) == ""
    assert [len(row) for row in rows_of([Node(name=str(n), figures=seen(str(n), "branch")) for n in range(9)])] == [
        4, 4, 1,
    ]  # fmt: skip
