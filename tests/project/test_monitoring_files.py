"""Grafana's dashboard and the alert rules ask for metrics and labels that /metrics has, and name pages that exist."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from django.db.models.functions import Now
from prometheus_client.parser import text_string_to_metric_families

from taskqueue.engine.maintenance import rollups
from taskqueue.metrics import exposition
from taskqueue.models import RateLimit, RateLimitBucket
from tests.support.api import enqueue_order, finish_order, roll_up_ended

DEPLOY = Path(__file__).parents[2] / "deploy"
METRICS_PAGE = Path(__file__).parents[2] / "docs" / "capabilities" / "metrics.md"
ADDED = {"instance", "job"}
"""Labels that Prometheus adds to each sample."""


def alerts() -> list[dict[str, Any]]:
    groups = yaml.safe_load((DEPLOY / "prometheus-alerts.yml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def panels() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((DEPLOY / "grafana-dashboard.json").read_text())["panels"]
    return found


def documented() -> Iterator[str]:
    """The examples of the page about metrics."""
    (block,) = re.findall(r"^```\n(sum by .*?)^```$", METRICS_PAGE.read_text(), flags=re.MULTILINE | re.DOTALL)
    yield from block.splitlines()


EXPRESSIONS = [
    *(rule["expr"] for rule in alerts()),
    *(target["expr"] for panel in panels() for target in panel["targets"]),
    *documented(),
]


@pytest.fixture
def exposed(db) -> dict[str, set[str]]:
    """The labels of each exposed sample, with something to count for every metric."""
    enqueue_order("queued")
    finish_order()
    roll_up_ended(duration=timedelta(seconds=1))
    rollups.roll_up()
    rate = RateLimit.objects.create(name="bank", declared_count=1, declared_per=timedelta(seconds=1))
    RateLimitBucket.objects.create(rate=rate, key="", theoretical_arrival_at=Now())
    families = text_string_to_metric_families(exposition().decode())
    return {sample.name: set(sample.labels) for family in families for sample in family.samples}


def test_every_metric_and_label_is_exposed(exposed):
    assert len(EXPRESSIONS) > 30
    for expression in EXPRESSIONS:
        names = set(re.findall(r"\btaskqueue_\w+", expression))
        assert names, expression
        assert names <= set(exposed), expression
        for name, matchers in re.findall(r"\b(taskqueue_\w+)\{(.*?)\}", expression):
            assert set(re.findall(r'(\w+)=~?"', matchers)) <= exposed[name], expression
        grouped = {label for group in re.findall(r"\b(?:by|on) \((.*?)\)", expression) for label in group.split(", ")}
        assert all(grouped <= exposed[name] for name in names if not is_joined(expression)), expression


def is_joined(expression: str) -> bool:
    """Whether its groups and matches are of more than one metric, so that each label is of one of them."""
    return " on (" in expression


@pytest.mark.parametrize("expression", [each for each in EXPRESSIONS if is_joined(each)])
def test_joined_metrics_have_the_label_that_joins_them(exposed, expression):
    for name in re.findall(r"\btaskqueue_\w+", expression):
        assert set(re.findall(r"\bon \((\w+)\)", expression)) <= exposed[name]


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_rates_are_of_counters_and_brackets_match(expression):
    assert all(expression.count(opening) == expression.count(closing) for opening, closing in ("()", "[]", "{}"))
    for name in re.findall(r"\brate\((\w+)", expression):
        assert name.endswith(("_total", "_bucket"))


@pytest.mark.parametrize("rule", alerts(), ids=lambda rule: rule["alert"])
def test_an_alert_names_a_page_that_exists(admin_client, exposed, rule):
    assert admin_client.get(rule["annotations"]["page"]).status_code == 200
    labels = set(re.findall(r"\$labels\.(\w+)", json.dumps(rule["annotations"])))
    for name in re.findall(r"\btaskqueue_\w+", rule["expr"])[:1]:
        assert labels <= exposed[name] | ADDED


def test_every_panel_has_a_place_of_its_own():
    cells = [
        (place["x"] + column, place["y"] + line)
        for place in (panel["gridPos"] for panel in panels())
        for column in range(place["w"])
        for line in range(place["h"])
    ]

    assert len(cells) == len(set(cells))
    assert max(column for column, _line in cells) == 23
