"""The engine's statements as files of `docs/sql/`, so that people can read and EXPLAIN them.

`make schema` writes them; `tests/engine/test_statements.py` compares and prepares them.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
import re
import shutil
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from taskqueue.engine import sql
from taskqueue.engine.sql import access
from taskqueue.engine.sql.run import fetch
from tests.support.sql_layout import laid_out

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "sql"
REMEDY = "docs/sql is not what the code says. Write it again: make schema"
VERB = re.compile(r"\s*(WITH|SELECT|INSERT|UPDATE|DELETE)\b")
PARAMETER = re.compile(r"%\((\w+)\)s(?:::(\w+(?:\[\])?))?")
INTRODUCTION = """\
# The statements, as PostgreSQL receives them

One file per statement, one folder per module of `taskqueue/engine/sql/`, where they are put together from parts. Do not
edit these files: `make schema` writes them. `tests/engine/test_statements.py` fails when they differ from the code, or
when PostgreSQL cannot plan one.

A parameter is written `:name`, as psql has it; psycopg sends it as `$1`, `$2` and so on, in the order of the names in
the file's header. To see a plan, give each parameter a value as an SQL literal, in `python manage.py dbshell`:

    \\set task '\\'01980000-0000-7000-8000-000000000000\\''
    EXPLAIN (ANALYZE, BUFFERS)
    SELECT key, kind, status FROM taskqueue_step WHERE task_id = :task::uuid;

ANALYZE executes the statement, so put it between BEGIN and ROLLBACK. For a plan without values (PostgreSQL 16 or newer)
write `\\set task $1`, `$2` for the next parameter and so on, and then `EXPLAIN (GENERIC_PLAN)`.
"""


@dataclass(frozen=True)
class Statement:
    """One statement that the engine executes.

    Attributes:
        name: its file, without the suffix, below `docs/sql/`.
        text: as the engine gives it to psycopg, with its parameters as `%(name)s`.
        about: the comment above its constant.
    """

    name: str
    text: str
    about: str

    @property
    def parameters(self) -> dict[str, str]:
        """The types of the parameters by name, as the statement casts them; `unknown` without a cast."""
        types: dict[str, str] = {}
        for name, cast in PARAMETER.findall(self.text):
            types[name] = types.get(name) or cast
        return {name: cast or "unknown" for name, cast in types.items()}

    def numbered(self) -> str:
        """The text with `$1` and so on for its parameters."""
        numbers = {name: number for number, name in enumerate(self.parameters, 1)}
        text = PARAMETER.sub(lambda found: found[0].replace(f"%({found[1]})s", f"${numbers[found[1]]}"), self.text)
        return text.replace("%%", "%")

    def file(self) -> str:
        """The content of its file."""
        header = [*textwrap.wrap(self.about, 117), *textwrap.wrap(self._legend(), 117)]
        text = re.sub(r"%\((\w+)\)s", r":\1", self.text).replace("%%", "%")
        return "".join(f"-- {line}\n" for line in header) + laid_out(text) + ";\n"

    def _legend(self) -> str:
        named = ", ".join(f":{name} {cast}" for name, cast in self.parameters.items())
        return f"Parameters: {named}" if named else ""


def modules() -> Iterator[tuple[str, ModuleType]]:
    """The modules that hold statements, by their paths below `engine/sql/`."""
    for found in pkgutil.walk_packages(sql.__path__, f"{sql.__name__}."):
        if not found.ispkg and found.name != fetch.__module__:
            path = found.name.removeprefix(f"{sql.__name__}.").replace(".", "/")
            yield path, importlib.import_module(found.name)


def statements() -> list[Statement]:
    """All statements that the engine executes."""
    return [
        Statement(f"{folder}/{name.lower()}", text, about)
        for folder, module in modules()
        for name, text, about in constants(module)
        if VERB.match(text)
    ] + [*settling_statements(), *access_statements()]


def constants(module: ModuleType) -> Iterator[tuple[str, str, str]]:
    """The names, texts and comments of the strings that a module defines."""
    lines = inspect.getsource(module).splitlines()
    for node in ast.parse("\n".join(lines)).body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            value = getattr(module, node.target.id)
            if isinstance(value, str):
                yield node.target.id, value, comment_above(lines, node.lineno - 1)


def comment_above(lines: list[str], number: int) -> str:
    """The comment that ends right above this line."""
    first = number
    while lines[first - 1].startswith("#"):
        first -= 1
    return " ".join(line.removeprefix("#").strip() for line in lines[first:number])


def settling_statements() -> Iterator[Statement]:
    """The statements of `worker.settle`, with and without the next claim."""
    parts = {text: (name.lower(), about) for name, text, about in constants(sql.journal)}
    for part in (sql.FINISH, sql.FINISH_WITH_STEP, sql.FAIL_BODY, sql.RETRY, sql.RELEASE, sql.MOVE):
        name, about = parts[part]
        yield Statement(f"journal/{name}", sql.standalone(part), about)
        yield Statement(f"claims/{name}_and_claim", sql.with_claim(part), f"{about} Then claim the next tasks.")
        if part in (sql.FINISH, sql.FINISH_WITH_STEP, sql.FAIL_BODY):
            if part != sql.FINISH_WITH_STEP:  # a parallel step is not held
                parallel = f"{about} For a parallel step, under the lock of its parent."
                yield Statement(f"children/{name}_parallel_step", sql.end_parallel_step(part), parallel)
            closes = f"{about} Close the waits of `cancel_on`."
            yield Statement(f"journal/{name}_close_waits", sql.standalone(sql.close_waits(part)), closes)
            both = sql.with_claim(sql.close_waits(part))
            yield Statement(f"claims/{name}_close_waits_and_claim", both, f"{closes} Then claim the next tasks.")
    for part in (sql.FINISH, sql.FINISH_WITH_STEP, sql.FAIL_BODY):
        name, about = parts[part]
        passing = f"{about} Pass its slot on to the next task of its pipeline."
        yield Statement(f"limited_claims/{name}_and_pass_slot", sql.with_passed_slot(part), passing)
        freeing = f"{about} Then claim the next tasks, as if its slot were free."
        yield Statement(f"limited_claims/{name}_and_free_slot", sql.with_freed_slot(part), freeing)
    name, about = parts[sql.FINISH_MANY]
    yield Statement(f"journal/{name}", sql.standalone(sql.FINISH_MANY), about)
    yield Statement(f"claims/{name}_and_claim", sql.with_claim(sql.FINISH_MANY), f"{about} Then claim the next tasks.")


def access_statements() -> Iterator[Statement]:
    """The statements about callers, as they are written for Django's own user model."""
    found = "Find a token by its digest, with its user"
    yield Statement("access/find_token", access.find_token(with_permissions=False), f"{found}.")
    with_permissions = access.find_token(with_permissions=True)
    yield Statement("access/find_token_with_permissions", with_permissions, f"{found} and the user's permissions.")
    grants = "each with whether it is for the caller"
    yield Statement("access/read_grants", access.read_grants(of_all=False), f"Read the grants of pipelines, {grants}.")
    yield Statement("access/read_all_grants", access.read_grants(of_all=True), f"Read all grants, {grants}.")


def files() -> dict[str, str]:
    """The content of the folder: the text of each file by its path."""
    all_statements = sorted(statements(), key=lambda each: each.name)
    return {"README.md": INTRODUCTION + index(all_statements)} | {
        f"{each.name}.sql": each.file() for each in all_statements
    }


def index(all_statements: list[Statement]) -> str:
    """The statements by their modules, with the first sentence about each."""
    text = ""
    for folder, module in modules():
        text += f"\n## {folder}\n\n{inspect.getdoc(module)}\n\n"
        text += "".join(
            f"- [{each.name}]({each.name}.sql): {each.about.partition('. ')[0].rstrip('.')}.\n"
            for each in all_statements
            if each.name.startswith(f"{folder}/")
        )
    return text


def existing_files() -> dict[str, str]:
    """The files in the folder."""
    return {str(path.relative_to(FOLDER)): path.read_text() for path in FOLDER.rglob("*") if path.is_file()}


def write() -> None:
    """Write the folder."""
    shutil.rmtree(FOLDER, ignore_errors=True)
    for name, text in files().items():
        (FOLDER / name).parent.mkdir(parents=True, exist_ok=True)
        (FOLDER / name).write_text(text)
