"""The graph of a pipeline's steps."""

from __future__ import annotations

from datetime import timedelta

from django.template.loader import render_to_string

from taskqueue.admin.pipelines.graph import Node, nodes_of, stages_of
from taskqueue.engine.queries.pipeline_stats import StepStats


def recorded(name: str, kind: str = "step", **more) -> StepStats:
    return StepStats(name=name, kind=kind, **more)


def names_of(nodes: list[Node]) -> list[str]:
    return [node.name for node in nodes]


def page_of(nodes: list[Node]) -> str:
    return render_to_string("taskqueue/flow.html", {"stages": stages_of(nodes)})


def test_a_step_that_was_not_recorded_follows_its_predecessor():
    nodes = nodes_of([recorded("b"), recorded("helper"), recorded("d")], ["a", "b", "c", "d", "e"])

    assert names_of(nodes) == ["a", "b", "c", "helper", "d", "e"]
    assert [node.stats is None for node in nodes] == [True, False, True, False, False, True]


def test_parallel_steps_share_a_stage():
    nodes = nodes_of(
        [recorded("start"), recorded("left", "parallel"), recorded("right", "parallel"), recorded("end")], []
    )

    assert [names_of(stage) for stage in stages_of(nodes)] == [["start"], ["left", "right"], ["end"]]
    assert page_of(nodes).count("<li") == 3


def test_a_step_shows_rate_median_and_failed_attempts():
    node = Node(
        name="call",
        stats=recorded("call", succeeded=199, failed=1, retries=3, median=timedelta(milliseconds=453), tasks=200),
    )

    assert node.summary == "99.5%, 453ms, 3 failed attempts"
    assert Node(name="call").summary == "not run recently"
    assert "<b>call</b> <span>99.5%, 453ms, 3 failed attempts</span>" in page_of([node])


def test_a_name_is_text_and_never_markup():
    page = page_of(nodes_of([recorded('<script>alert("x")</script>&')], []))

    assert "<script>" not in page
    assert "&lt;script&gt;" in page
