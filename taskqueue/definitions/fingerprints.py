"""Fingerprints: a short name for the code of a pipeline, the same on every machine that has the same code."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable
from functools import cache
from hashlib import sha256
from typing import Any

from taskqueue.definitions.pipelines import PipelineDefinition


@cache
def fingerprint(definition: PipelineDefinition) -> str:
    """The fingerprint of the body and of the steps that it names: comments, formatting and docstrings do not count."""
    functions = [definition.function, *(step.function for step in definition.known_steps())]
    return sha256("\n".join(code_of(function) for function in functions).encode()).hexdigest()[:16]


def code_of(function: Callable[..., Any]) -> str:
    """The function's code as text: its syntax tree, or its byte code where there is no source."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    except (OSError, TypeError, SyntaxError):
        code = function.__code__
        return repr((code.co_code, code.co_names, [const for const in code.co_consts if isinstance(const, str | int)]))
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and ast.get_docstring(node):
            node.body = node.body[1:] or [ast.Pass()]
    return ast.dump(tree)
