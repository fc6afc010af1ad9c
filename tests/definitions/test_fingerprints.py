"""Fingerprints: which changes count as changed code."""

from __future__ import annotations

import ast
import linecache
import textwrap
from collections.abc import Callable
from typing import Any

import pytest

from taskqueue import pipeline, step
from taskqueue.definitions import fingerprint, registry
from taskqueue.definitions.fingerprints import strip_function, to_text

pytestmark = pytest.mark.smoke  # its ground is Python's own syntax tree

BODY = """
def body(order: str, amount: int = 1) -> str:
    receipt = charge(order)
    return f"{receipt!r:>10} of {amount}" if amount > 0 else charge.named("more")(order)
"""


@step
def charge(order: str) -> str:
    return order


@pytest.fixture(autouse=True)
def _own_registry():
    before = dict(registry._pipelines)
    yield
    registry._pipelines.clear()
    registry._pipelines.update(before)


def defined(source: str, **names: Any) -> str:
    """The fingerprint of the pipeline whose body is the last function of this source."""
    registry._pipelines.pop("prints/shop", None)
    file = f"<prints {hash(source)}>"
    linecache.cache[file] = (len(source), None, source.splitlines(keepends=True), file)
    space: dict[str, Any] = {"charge": charge, "pipeline": pipeline, "step": step, "__name__": "prints", **names}
    exec(compile(textwrap.dedent(source), file, "exec"), space)  # noqa: S102 - our own examples
    function: Callable[..., Any] = space["body"]
    made = function if hasattr(function, "definition") else pipeline("prints/shop")(function)
    return fingerprint(made.definition)


@pytest.mark.parametrize(
    "source",
    [
        BODY,
        BODY.replace("    receipt", "    # a comment\n    receipt"),
        BODY.replace("    receipt", '    """A docstring."""\n    receipt'),
        BODY.replace("charge(order)\n", "charge(\n        order,\n    )\n"),
        BODY.replace('"more"', "'more'"),
        "\n\n\n" + BODY.replace("    return", "\n\n    return"),
        BODY.replace("\ndef body", '\n@pipeline("prints/shop", version="7", concurrency=3)\ndef body'),
    ],
)
def test_formatting_does_not_change_the_fingerprint(source):
    assert defined(source) == defined(BODY)


@pytest.mark.parametrize(
    "source",
    [
        BODY.replace("amount > 0", "amount >= 0"),
        BODY.replace("= 1", "= 2"),
        BODY.replace('"more"', '"another"'),
        BODY.replace("def body", "async def body"),
        BODY.replace("    return", "    charge.named('again')(order)\n    return"),
    ],
)
def test_changed_code_changes_the_fingerprint(source):
    assert defined(source) != defined(BODY)


def test_a_body_of_only_a_docstring_has_a_fingerprint():
    assert defined('def body() -> None:\n    """Nothing."""\n') == defined("def body() -> None:\n    pass\n")


def test_code_and_name_of_a_named_step_change_the_fingerprint():
    @step(name="charge")
    def other(order: str) -> str:
        return order + "!"

    @step(name="charge-card")
    def charge(order: str) -> str:
        return order

    prints = {defined(BODY), defined(BODY, charge=other), defined(BODY, charge=charge)}

    assert len(prints) == 3


def test_the_function_name_does_not_change_the_fingerprint():
    source = BODY.replace("def body", "def older") + "\nbody = older\n"

    assert defined(source) == defined(BODY)


def test_the_fingerprint_is_equal_in_all_python_versions():
    # With any Python: what newer ones add to a tree (type_params) and leave out of its dump (empty
    # lists) must not show, or every task in flight would look changed after an upgrade.
    assert to_text(strip_function(ast.parse(BODY))) == (
        "FunctionDef(name='',args=arguments(args=[arg(arg='order',annotation=Name(id='str',ctx=Load())),"
        "arg(arg='amount',annotation=Name(id='int',ctx=Load()))],defaults=[Constant(1)]),"
        "body=[Assign(targets=[Name(id='receipt',ctx=Store())],value=Call(func=Name(id='charge',ctx=Load()),"
        "args=[Name(id='order',ctx=Load())])),Return(value=IfExp(test=Compare(left=Name(id='amount',ctx=Load()),"
        "ops=[Gt()],comparators=[Constant(0)]),body=JoinedStr(values=[FormattedValue(value=Name(id='receipt',"
        "ctx=Load()),conversion=114,format_spec=JoinedStr(values=[Constant('>10')])),Constant(' of '),"
        "FormattedValue(value=Name(id='amount',ctx=Load()),conversion=-1)]),orelse=Call(func=Call(func=Attribute("
        "value=Name(id='charge',ctx=Load()),attr='named',ctx=Load()),args=[Constant('more')]),"
        "args=[Name(id='order',ctx=Load())])))],returns=Name(id='str',ctx=Load()))"
    )


def test_code_from_a_file_that_is_no_python_has_a_fingerprint(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("It isn't Python.\n")
    space: dict[str, Any] = {"__name__": "prints"}
    exec(compile("def body() -> int:\n    return 1", str(page), "exec"), space)  # noqa: S102 - our own example

    assert fingerprint(pipeline("prints/page")(space["body"]).definition)


def test_code_without_a_source_has_a_fingerprint():
    space: dict[str, Any] = {"pipeline": pipeline}
    exec("@pipeline('prints/blind')\ndef body() -> int:\n    return 1\n", space)  # noqa: S102 - our own example

    assert len(fingerprint(space["body"].definition)) == 16
