"""docs/pipelines.md: every example runs, and every public name is explained."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

import taskqueue
from taskqueue import testing
from taskqueue.definitions import registry
from taskqueue.engine.enqueue.enqueue import enqueue
from taskqueue.models import Task
from tests.support.endings import finish

PAGE = Path(__file__).parents[2] / "docs" / "pipelines.md"
EXAMPLES = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), flags=re.MULTILINE | re.DOTALL)


@pytest.fixture
def shop(monkeypatch):
    """The page's examples as one module."""
    module = ModuleType("shop_of_the_documentation")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    for example in EXAMPLES:
        exec(compile(example, str(PAGE), "exec"), module.__dict__)  # noqa: S102 - our own documentation
    return module


@pytest.mark.django_db(transaction=True)
def test_every_example_runs_and_every_pipeline_of_it_succeeds(shop):
    assert len(EXAMPLES) == 9

    for task in Task.objects.all():
        assert finish(task).status == "succeeded"
    pipelines = [definition for definition in registry.all() if definition.name.startswith("shop/")]
    for definition in pipelines:
        example = {"orders": []} if definition.name == "shop/invoices" else definition.payload.example()
        task = finish(enqueue(definition.name, example))
        assert (definition.name, task.status) == (definition.name, "succeeded"), task.error


@pytest.mark.django_db
def test_the_failing_example_compensates_as_it_says(shop):
    task = finish(shop.reserve_and_charge.enqueue(shop.Order(number="A-1", amount=30)))

    assert task.result == "shelf A-1 is free again: CardDeclined"


def test_every_public_name_is_explained():
    pages = "".join(page.read_text() for page in [PAGE, *PAGE.parent.glob("capabilities/*.md")])
    for name in [*taskqueue.__all__, *testing.__all__]:
        assert f"`{name}`" in pages or f"`{name}(" in pages, name


def test_every_option_of_using_is_explained():
    for option in ("key", "force", "priority", "run_at", "labels", "subject"):
        assert f"| `{option}` |" in PAGE.read_text()
