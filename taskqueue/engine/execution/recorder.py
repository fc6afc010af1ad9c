"""Record the arguments and the result of a step's call in the journal."""

from __future__ import annotations

from typing import Any

from taskqueue.conf import settings
from taskqueue.engine.author_code.body_end import is_worth_holding
from taskqueue.engine.author_code.step_output import serialize
from taskqueue.engine.execution.replay import Call
from taskqueue.engine.execution.secrets import secrets_at
from taskqueue.engine.execution.state import Execution
from taskqueue.engine.runtime.outcomes import Release
from taskqueue.json_values import codec


def checkpoint(execution: Execution, call: Call, value: object) -> Any:
    """Record what a step returned, and return it as a later execution will replay it.

    Raises:
        InvalidResult, NotSerializable, TooLarge: the value cannot be recorded.
        Suspended: the lease is gone.
    """
    journal = execution.journal
    check_session(execution, call)
    output, replayed = serialize(call.step, call.key, value, used=journal.output_bytes)
    logs = call.lines.to_json(secrets_at(journal, call.step, call.arguments)) if call.lines.records else None
    execution.activity.chunks.flush(journal.write)
    recorded = journal.checkpoint(
        key=call.key,
        name=call.step.name,
        arguments=call.arguments or "",
        output=output,
        elapsed=call.elapsed,
        logs=logs,
        hold=call.ends_body and is_worth_holding(call.elapsed, output, call.arguments, logs),
    )
    if recorded is None:
        raise execution.suspend(Release())
    call.is_recorded = True
    # PostgreSQL orders the keys of objects its own way, and a body that iterates must see one order every time.
    return replayed if recorded == output else call.step.result.read(recorded)


def write_arguments(call: Call) -> None:
    """Keep the call's arguments as JSON, before the author's function can change them."""
    written = call.step.arguments.write(call.args, call.kwargs, what=f"arguments of step {call.key!r}")
    what, limit = f"The arguments of step {call.key!r}", settings().STEP_OUTPUT_MAX_BYTES
    codec.within(written, limit=limit, what=what, setting="STEP_OUTPUT_MAX_BYTES")
    call.arguments = call.lines.arguments = written


def check_session(execution: Execution, call: Call) -> None:
    """Refuse a step that left a transaction open or broke its own, and drop what it has set on the session."""
    session = execution.journal.session
    if call.step.atomic:
        session.check_transaction(call.key, call.depth)
        return
    execution.journal.refuse_open_transaction(
        f"Step {call.key!r} began a database transaction and did not end it. Use transaction.atomic()."
    )
    session.restore()
