"""docs/capabilities: the examples of every page run, and their assertions hold."""

from __future__ import annotations

import re
import sys
from importlib import reload
from pathlib import Path
from types import ModuleType

import pytest

import taskqueue.pipelines
from tests.support.django_tasks.framework import PACKAGE
from tests.support.registries import own_registry

PAGES = sorted((Path(__file__).parents[2] / "docs" / "capabilities").glob("*.md"))


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("document", PAGES, ids=[page.stem for page in PAGES])
def test_a_page_runs(document, monkeypatch):
    text = document.read_text().replace("from django.tasks import", f"from {PACKAGE} import")
    examples = re.findall(r"^```python\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)
    module = ModuleType(f"page_{document.stem.replace('-', '_')}")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    assert any("assert " in example for example in examples), "A page shows what happens, and asserts it."

    with own_registry(empty=True):
        reload(taskqueue.pipelines)  # taskqueue's own are always there
        run(document, examples, module)


def run(document, examples, module):
    """Run one page's examples in a module of their own."""
    for example in examples:
        exec(compile(example, str(document), "exec"), module.__dict__)  # noqa: S102 - our own documentation
