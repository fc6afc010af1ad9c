"""The documentation names files of the package by their paths; they exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "taskqueue"
PAGES = [ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
NAMED = re.compile(r"`((?:api|admin|authoring|engine|management|models|policies|pool|testing)/[\w/]*\.py)`")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_each_named_file_exists(page):
    named = set(NAMED.findall(page.read_text()))

    assert {path for path in named if not (PACKAGE / path).exists()} == set()


def test_architecture_names_files():
    assert len(NAMED.findall((ROOT / "docs" / "architecture.md").read_text())) > 30


def test_the_main_path_is_short():
    path = re.findall(r"\*\*`([\w/]+\.py)`\*\*", (ROOT / "docs" / "architecture.md").read_text())

    assert len(path) == 12
    assert sum(len((PACKAGE / name).read_text().splitlines()) for name in path) < 1_000
