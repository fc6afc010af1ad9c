"""Files, functions and folders stay small enough to read."""

import ast
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = ("taskqueue", "demo", "tests", "benchmarks")


def python_files() -> list[Path]:
    """Ours to shape; Django writes the migrations."""
    files = [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))]
    return [path for path in files if path.parent.name != "migrations"]


@cache
def nodes_of(path: Path) -> list[ast.AST]:
    return list(ast.walk(ast.parse(path.read_text())))


def functions_of(path: Path) -> Iterator[tuple[str, int]]:
    for node in nodes_of(path):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name, (node.end_lineno or node.lineno) - node.lineno + 1


def test_no_file_is_longer_than_400_lines():
    long = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in python_files()}

    assert {name: lines for name, lines in long.items() if lines > 400} == {}


def test_no_function_is_longer_than_40_lines():
    long = {
        f"{path.relative_to(ROOT)}:{name}": lines
        for path in python_files()
        for name, lines in functions_of(path)
        if lines > 40
    }

    assert long == {}


def test_no_folder_holds_more_than_2000_lines():
    lines: Counter[str] = Counter()
    for path in python_files():
        if path.is_relative_to(ROOT / "taskqueue") and path.parent != ROOT / "taskqueue":
            lines[str(path.parent.relative_to(ROOT))] += len(path.read_text().splitlines())

    assert {folder: number for folder, number in lines.items() if number > 2_000} == {}


@pytest.mark.parametrize("name", ["utils", "helpers", "common", "manager", "base", "data", "info"])
def test_no_module_has_an_empty_name(name):
    # Django finds a database backend's wrapper in a module called base, whatever we think of the name.
    allowed = {ROOT / "taskqueue" / "embedded" / "base.py"}

    assert {path for path in python_files() if path.stem == name} <= allowed


def imports_of(path: Path) -> Iterator[str]:
    for node in nodes_of(path):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def test_no_test_imports_another_test():
    tests = [path for path in python_files() if path.is_relative_to(ROOT / "tests")]
    found = {
        f"{path.relative_to(ROOT)} imports {name}"
        for path in tests
        for name in imports_of(path)
        if name.startswith("tests.") and any(part.startswith(("test_", "conftest")) for part in name.split(".")[1:])
    }

    assert found == set(), "Move what they share to tests/support."
