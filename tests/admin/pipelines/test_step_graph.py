"""The flow of a pipeline's steps."""

from __future__ import annotations

from datetime import timedelta

from django.template.loader import render_to_string

from taskqueue.admin.pipelines.graph import Node, nodes_of, stages_of
from taskqueue.engine.queries.samples import StepFigures


def seen(name: str, kind: str = "step", **more) -> StepFigures:
    return StepFigures(name=name, kind=kind, **more)


def names_of(nodes: list[Node]) -> list[str]:
    return [node.name for node in nodes]


def page_of(nodes: list[Node]) -> str:
    return render_to_string("taskqueue/flow.html", {"stages": stages_of(nodes)})


def test_an_unseen_step_stands_behind_the_known_one_before_it():
    nodes = nodes_of([seen("b"), seen("helper"), seen("d")], ["a", "b", "c", "d", "e"])

    assert names_of(nodes) == ["a", "b", "c", "helper", "d", "e"]
    assert [node.figures is None for node in nodes] == [True, False, True, False, False, True]


def test_parallel_steps_share_a_stage():
    nodes = nodes_of([seen("start"), seen("left", "parallel"), seen("right", "parallel"), seen("end")], [])

    assert [names_of(stage) for stage in stages_of(nodes)] == [["start"], ["left", "right"], ["end"]]
    assert page_of(nodes).count("<li") == 3


def test_a_step_says_how_it_does():
    node = Node(
        name="call",
        figures=seen("call", succeeded=199, failed=1, retries=3, median=timedelta(milliseconds=453), tasks=200),
    )

    assert node.line == "99.5%, 453ms, 3 failed attempts"
    assert Node(name="call").line == "not run recently"
    assert "<b>call</b> <span>99.5%, 453ms, 3 failed attempts</span>" in page_of([node])


def test_a_name_is_text_and_never_markup():
    page = page_of(nodes_of([seen('<script>alert("x")</script>&')], []))

    assert "<script>" not in page
    assert "&lt;script&gt;" in page
