"""docs/settings.md has a heading for every setting, and for nothing else."""

import re
from dataclasses import fields
from pathlib import Path

from taskqueue.conf import Settings

ROOT = Path(__file__).parents[2]


def headings(title: str) -> set[str]:
    """The settings under this chapter of docs/settings.md."""
    chapters = re.split(r"^## ", (ROOT / "docs" / "settings.md").read_text(), flags=re.MULTILINE)
    chapter = next(chapter for chapter in chapters if chapter.startswith(title))
    return set(re.findall(r"^### `(\w+)`$", chapter, flags=re.MULTILINE))


def test_every_taskqueue_setting_has_a_heading():
    assert headings("The TASKQUEUE dict") == {field.name for field in fields(Settings)}


def test_every_environment_variable_has_a_heading():
    read = set(re.findall(r"""env\.\w+\(\s*"(\w+)""", (ROOT / "demo" / "settings.py").read_text()))

    assert headings("Environment variables of the demo project") == read | {"PORT"}
