"""A worker process sends the spans that wait when it stops."""

from __future__ import annotations

import json

import pytest

from taskqueue.engine import tracing
from tests.support.processes.worker_command import enqueue_walk, finished
from tests.support.waiting import eventually

pytestmark = pytest.mark.process
CALLER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def test_a_stopped_worker_has_sent_all_spans(start, notes, tmp_path):
    file = tmp_path / "spans"
    environment = {"WORKER_TEST_APPS": "tests.support.traced", "SPANS_FILE": str(file)}
    command = start(processes=1, environment=environment)
    with tracing.carrying(CALLER):
        task = enqueue_walk(notes)
    eventually(lambda: finished(task), details=command.output)

    assert command.stop() == 0

    spans = [json.loads(line) for line in file.read_text().splitlines()]
    assert [name for name, _trace in spans] == ["step stride"] * 5 + ["process tests/walk"]
    assert {trace_id for _name, trace_id in spans} == {CALLER.split("-")[1]}
