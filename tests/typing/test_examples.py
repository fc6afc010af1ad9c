"""mypy, with an author's settings, over examples that must pass and examples that must fail."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow  # mypy without a cache takes 15 s; make check runs it over the right examples

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
MARK = re.compile(r"# error: \[([a-z, -]+)\]$")
COMPLAINT = re.compile(r"^(?P<file>[^:]+):(?P<line>\d+): error: .*\[(?P<code>[a-z-]+)\]$")


@pytest.fixture(scope="module")
def errors_by_file() -> dict[str, set[tuple[int, str]]]:
    """mypy's errors by file name: lines and codes."""
    examples = sorted([*HERE.glob("ok_*.py"), *HERE.glob("bad_*.py")])
    cache = ROOT / ".mypy_cache" / "examples"
    options = ["--config-file", str(HERE / "mypy.ini"), "--cache-dir", str(cache), "--no-error-summary"]
    done = subprocess.run(
        [sys.executable, "-m", "mypy", *options, *examples], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode in (0, 1), done.stderr + done.stdout
    found: dict[str, set[tuple[int, str]]] = {example.name: set() for example in examples}
    for line in done.stdout.splitlines():
        if complaint := COMPLAINT.match(line):
            found[Path(complaint["file"]).name].add((int(complaint["line"]), complaint["code"]))
    return found


@pytest.mark.parametrize("example", sorted(HERE.glob("ok_*.py")), ids=lambda example: example.name)
def test_a_right_example_passes(errors_by_file, example: Path):
    assert errors_by_file[example.name] == set()


@pytest.mark.parametrize("example", sorted(HERE.glob("bad_*.py")), ids=lambda example: example.name)
def test_a_wrong_example_fails_in_the_marked_lines_and_nowhere_else(errors_by_file, example: Path):
    marked = {
        (number, code)
        for number, line in enumerate(example.read_text().splitlines(), 1)
        if (mark := MARK.search(line))
        for code in mark[1].split(", ")
    }

    assert marked
    assert errors_by_file[example.name] == marked
