"""Whether a pipeline's body returns as soon as the step that it calls returns, read from its bytecode.

If so, the step's checkpoint can be held, and be written with the end of the task (docs/adr/0011-the-last-step.md).
"""

from __future__ import annotations

import dis
from datetime import timedelta
from functools import lru_cache
from types import CodeType, FrameType
from typing import Final

ENGINE: Final = "taskqueue.engine."

HARMLESS: Final = frozenset(
    {
        "NOP",
        "EXTENDED_ARG",
        "POP_TOP",
        "COPY",
        "SWAP",
        "LOAD_CONST",
        "LOAD_SMALL_INT",
        "LOAD_FAST",
        "LOAD_FAST_CHECK",
        "LOAD_FAST_BORROW",
        "LOAD_FAST_LOAD_FAST",
        "LOAD_FAST_BORROW_LOAD_FAST_BORROW",
        "STORE_FAST",
        "STORE_FAST_LOAD_FAST",
        "STORE_FAST_STORE_FAST",
        "BUILD_TUPLE",
        "BUILD_LIST",
        "BUILD_MAP",
        "BUILD_CONST_KEY_MAP",
    }
)
"""Instructions that only move values: none calls a function, loops or waits."""

RETURNS: Final = frozenset({"RETURN_VALUE", "RETURN_CONST"})

LONGEST: Final = timedelta(seconds=1)
"""A step that takes longer is recorded at once: one more commit is nothing to it, and a repetition much."""

LARGEST: Final = 16_384
"""Characters. Larger values are recorded at once: PostgreSQL may refuse them, which is a failed attempt of the step."""


def ends_with_this_call(frame: FrameType | None) -> bool:
    """Whether every function that waits for this call returns right after it, up to the engine that called the body.

    So `return step(x)` does, as do `step(x)` in the last line and `y = step(x); return {"y": y}`. A loop, a `with`, an
    await or any other call makes it False, and so does a step that is called in a thread of the body's own.

    Args:
        frame: of the function that has made the call.
    """
    while frame is not None and not frame.f_globals.get("__name__", "").startswith(ENGINE):
        if not returns_after(frame.f_code, frame.f_lasti):
            return False
        frame = frame.f_back
    return frame is not None


@lru_cache(maxsize=4096)
def returns_after(code: CodeType, call: int) -> bool:
    """Whether this code only moves values between the call at an offset and its return."""
    for instruction in dis.get_instructions(code):
        if instruction.offset <= call:
            continue
        if instruction.opname in RETURNS:
            return True
        if instruction.opname not in HARMLESS:
            return False
    return False


def is_worth_holding(elapsed: timedelta, *texts: str | None) -> bool:
    """Whether the checkpoint of a step that took so long, with these values, is held."""
    return elapsed < LONGEST and sum(len(text or "") for text in texts) <= LARGEST
