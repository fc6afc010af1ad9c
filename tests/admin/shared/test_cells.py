"""The cells of the lists have the names of their columns, since cards on a phone have no head above them."""

from __future__ import annotations

import pytest
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.auth.models import User
from django.utils.safestring import SafeString

from taskqueue.admin.shared.html import breakable
from taskqueue.models import Pipeline, RateLimit, Skip
from taskqueue.templatetags.taskqueue_cells import named_by


@pytest.mark.parametrize("page", ["taskqueue/pipeline/", "taskqueue/skip/", "taskqueue/ratelimit/", "admin/logentry/"])
def test_every_cell_of_a_list_names_its_column(admin, pipeline_without_code: Pipeline, page):
    Skip.objects.create(pipeline=pipeline_without_code, kind="duplicate", reason="It was asked for twice.")
    RateLimit.objects.create(name="api", declared_count=5, declared_per="60")
    user = User.objects.get(username="ada")
    LogEntry.objects.create(user=user, action_flag=CHANGE, object_id="1", object_repr="1", change_message="Paused.")

    rows = admin.get(f"/admin/{page}").content.decode().partition("<tbody>")[2]

    cells = rows.count("<td") + rows.count("<th") - rows.count("action-checkbox")
    assert cells > 3
    assert rows.count(" data-name=") == cells


def test_a_columns_name_is_escaped_and_a_box_to_tick_has_none():
    cells = [SafeString('<td class="a">1</td>'), SafeString('<td class="b">2</td>')]
    headers = [{"text": "<input type=checkbox>"}, {"text": 'per "key"'}]

    assert named_by(cells, headers) == [cells[0], '<td data-name="Per &quot;key&quot;" class="b">2</td>']


def test_a_name_may_end_a_line_after_each_slash_and_is_escaped():
    assert breakable("shop/<b>/ship") == "shop/<wbr>&lt;b&gt;/<wbr>ship"
