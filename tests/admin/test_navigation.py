"""The navigation beside every page."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import pytest
from django.contrib.admin import AdminSite
from django.db.models.functions import Now
from django.test import RequestFactory

from taskqueue.admin import navigation
from taskqueue.engine.queries import stats
from taskqueue.models import Pipeline, Rollup, Worker
from taskqueue.testing import InProcessWorker
from tests.support.admin_pages import text_of
from tests.support.users import client_of

LIST = "/admin/taskqueue/task/"


def entries(response) -> dict[str, tuple[bool, str]]:
    """What the navigation says: for each entry whether it is the current one, and its pill."""
    [shown] = re.findall(r'<ul class="tq-nav".*?</ul>', response.content.decode(), flags=re.DOTALL)
    found = re.findall(
        r"<a [^>]*?href=\"[^\"]+\"( aria-current)?.*?<span>(.*?)</span>(?:<span [^>]*>(.*?)</span>)?</a>", shown
    )
    return {name: (bool(current), pill) for current, name, pill in found}


def test_everything_that_a_user_may_see_is_one_click_away(admin):
    assert list(entries(admin.get(LIST))) == [
        "Overview", "Tasks", "Failures", "Pipelines", "Workers", "Events", "Schedules", "Rates", "Operations",
        "Tokens", "Audit",
    ]  # fmt: skip


def test_what_a_user_may_not_see_is_not_there():
    client = client_of("tom", "view_task", "view_worker")

    assert list(entries(client.get("/admin/"))) == ["Overview", "Tasks", "Failures", "Workers"]


def test_who_may_start_operations_finds_them():
    client = client_of("carl", "view_task", "cancel_task")

    assert list(entries(client.get("/admin/"))) == ["Overview", "Tasks", "Failures", "Operations"]


def test_staff_without_rights_here_have_the_stock_sidebar(stranger):
    page = stranger.get("/admin/password_change/").content.decode()

    assert "tq-nav" not in page
    assert 'id="nav-filter"' in page


@pytest.mark.parametrize(
    ("address", "current"),
    [
        ("/admin/", "Overview"),
        ("/admin/?range=1h", "Overview"),
        (LIST, "Tasks"),
        (f"{LIST}?status=queued", "Tasks"),
        (f"{LIST}?status=failed", "Failures"),
        ("/admin/taskqueue/pipeline/demo_2Ftask/change/", "Pipelines"),
        ("/admin/admin/logentry/", "Audit"),
    ],
)
def test_the_entry_of_the_present_page_is_marked(admin, address, current):
    marked = [name for name, (is_current, _pill) in entries(admin.get(address)).items() if is_current]

    assert marked == [current]


def test_pages_of_other_apps_have_it_too_and_keep_their_list_under_more(admin):
    for address in ("/admin/auth/user/", "/admin/auth/"):
        page = admin.get(address).content.decode()
        assert 'class="tq-nav"' in page
        assert "<summary>More</summary>" in page
        assert "/admin/auth/group/" in page


def test_what_needs_a_look_is_counted(admin):
    Rollup.objects.create(span=15, at=datetime.now(UTC), pipeline="", failed=1234)
    Pipeline.objects.filter(name="demo/task").update(paused_at=Now(), pause_reason="x", paused_by="dana")

    shown = entries(admin.get(LIST))

    assert shown["Failures"][1] == "999+"
    assert shown["Pipelines"][1] == "1 paused"
    assert shown["Workers"][1] == "0 live"
    assert 'tq-pill tq-bad" title="worker processes that beat">0 live' in admin.get(LIST).content.decode()


def test_nothing_is_counted_that_is_well(admin):
    with InProcessWorker():
        shown = entries(admin.get(LIST))

    assert (shown["Failures"][1], shown["Pipelines"][1], shown["Workers"][1]) == ("", "", "1 live")


def test_workers_that_cannot_claim_are_counted_before_those_that_can(admin):
    with InProcessWorker(), InProcessWorker() as unable:
        Worker.objects.filter(pk=unable.worker).update(claim_error="permission denied")
        shown = entries(admin.get(LIST))

    assert shown["Workers"][1] == "1 cannot claim"


def test_its_numbers_cost_one_query(admin, django_assert_num_queries):
    admin.get(LIST)

    with django_assert_num_queries(1):
        stats.pills()


def test_a_site_without_these_pages_has_no_navigation(admin, rf: RequestFactory):
    request = rf.get("/")
    request.user = admin.get(LIST).wsgi_request.user

    assert navigation.entries_for(request, AdminSite(name="other")) == []


def test_the_audit_tells_who_did_what_and_changes_nothing(admin, operator, failed):
    operator.post(f"{LIST}{failed.pk}/retry/")

    text = text_of(admin.get("/admin/admin/logentry/"))

    assert "Home \N{SINGLE RIGHT-POINTING ANGLE QUOTATION MARK} Audit" in text
    assert re.search(r"olga changed Task queue \| task demo/task \S+ Retried; it was failed\.", text)
    assert admin.get("/admin/admin/logentry/add/").status_code == 403
    assert operator.get("/admin/admin/logentry/").status_code == 403
