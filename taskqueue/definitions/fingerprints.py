"""Fingerprints: a short digest of a pipeline's code, equal on every machine with equal code."""

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

IGNORED_FIELDS = {"kind", "type_comment"}
"""Fields of syntax trees that tell how code is written, not what it does."""


@cache
def fingerprint(definition: PipelineDefinition) -> str:
    """Return the fingerprint of the body and of the steps that it names.

    Comments, formatting, docstrings, decorators and the name of the body's function do not count: a body that is kept
    for an old version keeps its fingerprint.
    """
    steps = sorted(f"{step.name} {code_of(step.function)}" for step in definition.steps_in_body())
    return sha256("\n".join([code_of(definition.function), *steps]).encode()).hexdigest()[:16]


def code_of(function: Callable[..., Any]) -> str:
    """The function's code as text: its syntax tree, or its byte code where there is no source.

    Byte code differs between versions of Python; a syntax tree does not.
    """
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    except (OSError, TypeError, SyntaxError, TokenError):
        # There is no source, or it is no Python: Python 3.12 and later raise TokenError for that.
        code = function.__code__
        return repr((code.co_code, code.co_names, [const for const in code.co_consts if isinstance(const, str | int)]))
    return to_text(strip_function(tree))


def strip_function(tree: ast.Module) -> ast.AST:
    """The function in a source, without its name, its decorators and all docstrings."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and ast.get_docstring(node):
            node.body = node.body[1:] or [ast.Pass()]
    outermost = tree.body[0]
    if isinstance(outermost, ast.FunctionDef | ast.AsyncFunctionDef):
        outermost.name, outermost.decorator_list = "", []
    return outermost


def to_text(node: object) -> str:
    # `ast.dump` writes the same tree differently in each version of Python: newer ones add fields that are mostly
    # empty, and leave empty ones out.
    if isinstance(node, ast.AST):
        return f"{type(node).__name__}({','.join(fields_of(node))})"
    if isinstance(node, list):
        return f"[{','.join(to_text(item) for item in node)}]"
    return repr(node)


def fields_of(node: ast.AST) -> Iterator[str]:
    for name, value in ast.iter_fields(node):
        if name == "value" and isinstance(node, ast.Constant):
            yield repr(value)
        elif name not in IGNORED_FIELDS and value not in (None, []):
            yield f"{name}={to_text(value)}"
