"""docs/capabilities: every page runs from top to bottom, and what it says holds."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

PAGES = sorted((Path(__file__).parents[2] / "docs" / "capabilities").glob("*.md"))


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("page", PAGES, ids=[page.stem for page in PAGES])
def test_a_page_runs(page, monkeypatch):
    examples = re.findall(r"^```python\n(.*?)^```$", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    module = ModuleType(f"page_{page.stem.replace('-', '_')}")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    assert any("assert " in example for example in examples), "A page shows what happens, and asserts it."

    for example in examples:
        exec(compile(example, str(page), "exec"), module.__dict__)  # noqa: S102 - our own documentation
