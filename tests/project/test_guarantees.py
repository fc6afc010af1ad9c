"""docs/guarantees.md names tests; they exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "guarantees.md").read_text()
NAMED = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", PAGE)


@pytest.mark.parametrize(("path", "name"), NAMED)
def test_a_test_that_the_page_names_exists(path: str, name: str):
    assert re.search(rf"^(async )?def {name}\(", (ROOT / path).read_text(), flags=re.MULTILINE)


def test_every_guarantee_names_its_tests_or_its_basis():
    chapters = re.split(r"^## ", PAGE, flags=re.MULTILINE)[1:]

    assert len(NAMED) > 30
    assert all("Shown by:" in chapter or "Rests on:" in chapter for chapter in chapters)
