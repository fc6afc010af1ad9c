"""Export of the filtered list."""

from __future__ import annotations

import csv
import io
import json
import re

import pytest

from demo.pipelines import DemoRequest, demo_task
from taskqueue.admin.tasks import export
from taskqueue.models import Task
from tests.support.admin_pages import LIST, messages_of, text_of
from tests.support.users import client_of

CSV, JSONL = f"{LIST}export/csv/", f"{LIST}export/jsonl/"


@pytest.fixture
def reader():
    """A user with permission to view payloads."""
    return client_of("rita", "view_task", "view_task_payload")


def body_of(response) -> str:
    assert response.status_code == 200
    return b"".join(response.streaming_content).decode()


def rows_of(response) -> list[dict[str, str]]:
    text = body_of(response)
    assert text.startswith("\ufeff")
    return list(csv.DictReader(io.StringIO(text.removeprefix("\ufeff"))))


def test_an_export_needs_view_permission(client, stranger):
    assert client.get(CSV).status_code == 302
    assert stranger.get(CSV).status_code == 403
    assert stranger.get(JSONL).status_code == 403


def test_the_list_links_exports_with_its_filter(viewer, failed):
    page = viewer.get(LIST, {"status": "failed", "p": "1"}).content.decode()

    assert f'href="{CSV}?status=failed"' in page
    assert f'href="{JSONL}?status=failed"' in page


def test_a_csv_has_the_listed_tasks_newest_first(viewer, failed, queued):
    response = viewer.get(CSV)
    rows = rows_of(response)

    assert [row["id"] for row in rows] == [str(queued.pk), str(failed.pk)]
    assert rows[1]["status"] == "failed"
    assert rows[1]["error_type"] == "Permanent"
    assert rows[1]["steps_done"] == "2"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z", rows[0]["created_at"])
    assert response["Content-Type"] == "text/csv; charset=utf-8"
    assert re.fullmatch(r'attachment; filename="tasks-\d{8}T\d{6}Z\.csv"', response["Content-Disposition"])
    assert [row["id"] for row in rows_of(viewer.get(CSV, {"status": "failed"}))] == [str(failed.pk)]


def test_json_lines_have_the_listed_tasks(viewer, failed):
    (row,) = [json.loads(line) for line in body_of(viewer.get(JSONL)).splitlines()]

    assert row["id"] == str(failed.pk)
    assert row["labels"] == {}
    assert row["finished_at"].endswith("Z")


def test_payloads_are_exported_with_permission_only(viewer, reader, succeeded):
    assert "payload" not in rows_of(viewer.get(CSV))[0]
    assert "result" not in json.loads(body_of(viewer.get(JSONL)))
    (row,) = rows_of(reader.get(CSV))
    assert json.loads(row["payload"])["label"] == "fine"
    assert json.loads(body_of(reader.get(JSONL)))["payload"]["label"] == "fine"


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", " =1", "\uff1d1"])
def test_a_formula_is_exported_as_text(viewer, queued, text):
    Task.objects.filter(pk=queued.pk).update(key=text)

    (row,) = rows_of(viewer.get(CSV))

    assert row["key"] == f"'{text}"


def test_text_with_quotes_and_newlines_stays_one_cell(viewer, queued):
    Task.objects.filter(pk=queued.pk).update(key='a "b", c\nd')

    assert rows_of(viewer.get(CSV))[0]["key"] == 'a "b", c\nd'


def test_an_export_in_chunks_has_each_task_once(viewer, monkeypatch):
    monkeypatch.setattr(export, "CHUNK_SIZE", 3)
    tasks = [demo_task.enqueue(DemoRequest(label="many")) for _ in range(8)]

    ids = [row["id"] for row in rows_of(viewer.get(CSV))]

    assert ids == [str(task.pk) for task in reversed(tasks)]


def test_an_export_has_a_row_limit(viewer, monkeypatch):
    monkeypatch.setattr(export, "CHUNK_SIZE", 3)
    monkeypatch.setattr(export, "MAX_ROWS", 4)
    for _ in range(8):
        demo_task.enqueue(DemoRequest(label="many"))

    assert len(rows_of(viewer.get(CSV))) == 4
    assert 'title="At most the newest 4 of these tasks"' in viewer.get(LIST).content.decode()


def test_an_invalid_search_is_not_exported(viewer, queued):
    response = viewer.get(CSV, {"q": "errors:x"}, follow=True)

    assert messages_of(response)[0].startswith("Not exported. There is no qualifier errors:")
    assert "Tasks" in text_of(response)
    refused = viewer.get(CSV, {"status": "done"}, follow=True)
    assert messages_of(refused) == ["Not exported: a filter has an invalid value."]


def test_an_unknown_export_format_is_not_found(viewer):
    assert viewer.get(f"{LIST}export/xlsx/").status_code == 404
    assert viewer.post(CSV).status_code == 405
