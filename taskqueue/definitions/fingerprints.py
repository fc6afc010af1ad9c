"""Fingerprints: a short name for the code of a pipeline, the same on every machine that has the same code."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable, Iterator
from functools import cache
from hashlib import sha256
from tokenize import TokenError
from typing import Any

from taskqueue.definitions.pipelines import PipelineDefinition

UNSPOKEN = {"kind", "type_comment"}
"""Fields of syntax trees that tell how something was written, not what it does."""


@cache
def fingerprint(definition: PipelineDefinition) -> str:
    """The fingerprint of the body and of the steps that it names.

    Comments, formatting, docstrings, decorators and the name of the body's function do not count: a body that is kept
    for an old version has the fingerprint that it had.
    """
    steps = sorted(f"{step.name} {code_of(step.function)}" for step in definition.known_steps())
    return sha256("\n".join([code_of(definition.function), *steps]).encode()).hexdigest()[:16]


def code_of(function: Callable[..., Any]) -> str:
    """The function's code as text: its syntax tree, or where there is no source its byte code.

    Byte code is another one in each version of Python; a syntax tree is not.
    """
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    except (OSError, TypeError, SyntaxError, TokenError):  # the last from Python 3.12 on, for what is no Python
        code = function.__code__
        return repr((code.co_code, code.co_names, [const for const in code.co_consts if isinstance(const, str | int)]))
    return written(strip(tree))


def strip(tree: ast.Module) -> ast.AST:
    """The function that a source holds, without its name, its decorators and any docstring."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and ast.get_docstring(node):
            node.body = node.body[1:] or [ast.Pass()]
    outermost = tree.body[0]
    if isinstance(outermost, ast.FunctionDef | ast.AsyncFunctionDef):
        outermost.name, outermost.decorator_list = "", []
    return outermost


def written(node: object) -> str:
    """A syntax tree as text. `ast.dump` would write it another way in each version of Python: newer ones add fields
    that are mostly empty, and leave empty ones out."""
    if isinstance(node, ast.AST):
        return f"{type(node).__name__}({','.join(fields_of(node))})"
    if isinstance(node, list):
        return f"[{','.join(written(item) for item in node)}]"
    return repr(node)


def fields_of(node: ast.AST) -> Iterator[str]:
    """What a node holds, by the name of the field."""
    for name, value in ast.iter_fields(node):
        if name == "value" and isinstance(node, ast.Constant):
            yield repr(value)
        elif name not in UNSPOKEN and value not in (None, []):
            yield f"{name}={written(value)}"
