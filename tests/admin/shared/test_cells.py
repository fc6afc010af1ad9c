"""Cells of lists carry their column names, because cards on a phone have no table head."""

from __future__ import annotations

import pytest
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.auth.models import User
from django.utils.safestring import SafeString

from taskqueue.admin.shared.html import wrap_at_slashes
from taskqueue.models import Pipeline, RateLimit, Skip
from taskqueue.templatetags.taskqueue_cells import with_column_names


@pytest.mark.parametrize("page", ["taskqueue/pipeline/", "taskqueue/skip/", "taskqueue/ratelimit/", "admin/logentry/"])
def test_every_cell_has_its_column_name(admin, pipeline_without_code: Pipeline, page):
    Skip.objects.create(pipeline=pipeline_without_code, kind="duplicate", reason="It was asked for twice.")
    RateLimit.objects.create(name="api", declared_count=5, declared_per="60")
    user = User.objects.get(username="ada")
    LogEntry.objects.create(user=user, action_flag=CHANGE, object_id="1", object_repr="1", change_message="Paused.")

    rows = admin.get(f"/admin/{page}").content.decode().partition("<tbody>")[2]

    cells = rows.count("<td") + rows.count("<th") - rows.count("action-checkbox")
    assert cells > 3
    assert rows.count(" data-name=") == cells


def test_column_names_are_escaped_and_check_boxes_have_none():
    cells = [SafeString('<td class="a">1</td>'), SafeString('<td class="b">2</td>')]
    headers = [{"text": "<input type=checkbox>"}, {"text": 'per "key"'}]

    assert with_column_names(cells, headers) == [cells[0], '<td data-name="Per &quot;key&quot;" class="b">2</td>']


def test_a_name_wraps_after_slashes_and_is_escaped():
    assert wrap_at_slashes("shop/<b>/ship") == "shop/<wbr>&lt;b&gt;/<wbr>ship"
