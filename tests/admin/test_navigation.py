"""The navigation on every page, and the audit log."""

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
    """For each entry of the navigation: whether it is current, and the text of its badge."""
    [navigation_html] = re.findall(r'<ul class="tq-nav".*?</ul>', response.content.decode(), flags=re.DOTALL)
    found = re.findall(
        r"<a [^>]*?href=\"[^\"]+\"( aria-current)?.*?<span>(.*?)</span>(?:<span [^>]*>(.*?)</span>)?</a>",
        navigation_html,
    )
    return {name: (bool(current), badge) for current, name, badge in found}


def test_a_superuser_has_every_entry(admin):
    assert list(entries(admin.get(LIST))) == [
        "Overview", "Waiting for you", "Tasks", "Failures", "Pipelines", "Workers", "Events", "Schedules",
        "Rate limits", "Bulk operations", "Alert rules", "Subscriptions", "Tokens", "Audit",
    ]  # fmt: skip


def test_lists_without_view_permission_have_no_entry():
    client = client_of("tom", "view_task", "view_worker")

    assert list(entries(client.get("/admin/"))) == ["Overview", "Tasks", "Failures", "Workers"]


def test_a_user_who_may_start_bulk_operations_has_their_entry():
    client = client_of("carl", "view_task", "cancel_task")

    assert list(entries(client.get("/admin/"))) == ["Overview", "Tasks", "Failures", "Bulk operations"]


def test_staff_without_permissions_have_the_stock_sidebar(stranger):
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
        ("/admin/taskqueue/ratelimit/", "Rate limits"),
        ("/admin/taskqueue/bulkoperation/", "Bulk operations"),
        ("/admin/admin/logentry/", "Audit"),
    ],
)
def test_the_entry_of_this_page_is_marked(admin, address, current):
    marked = [name for name, (is_current, _badge) in entries(admin.get(address)).items() if is_current]

    assert marked == [current]


def test_pages_of_other_apps_have_the_navigation_and_the_app_list(admin):
    for address in ("/admin/auth/user/", "/admin/auth/"):
        page = admin.get(address).content.decode()
        assert 'class="tq-nav"' in page
        assert "<summary>More</summary>" in page
        assert "/admin/auth/group/" in page


def test_failures_pauses_and_missing_workers_have_badges(admin):
    Rollup.objects.create(span=15, at=datetime.now(UTC), pipeline="", failed=1234)
    Pipeline.objects.filter(name="demo/task").update(paused_at=Now(), pause_reason="x", paused_by="dana")

    found = entries(admin.get(LIST))

    assert found["Failures"][1] == "999+"
    assert found["Pipelines"][1] == "1 paused"
    assert found["Workers"][1] == "0 live"
    assert (
        'tq-nav-badge tq-bad" title="live workers, one for each thread of a process">0 live'
        in admin.get(LIST).content.decode()
    )


def test_a_healthy_system_has_only_the_badge_of_live_workers(admin):
    with InProcessWorker():
        found = entries(admin.get(LIST))

    assert (found["Failures"][1], found["Pipelines"][1], found["Workers"][1]) == ("", "", "1 live")


def test_claim_errors_take_the_place_of_the_live_workers_badge(admin):
    with InProcessWorker(), InProcessWorker() as with_claim_error:
        Worker.objects.filter(pk=with_claim_error.worker).update(claim_error="permission denied")
        found = entries(admin.get(LIST))

    assert found["Workers"][1] == "1 cannot claim"


def test_all_badges_cost_one_query(admin, django_assert_num_queries):
    admin.get(LIST)

    with django_assert_num_queries(1):
        stats.badge_counts()


def test_a_site_without_these_pages_has_no_navigation(admin, rf: RequestFactory):
    request = rf.get("/")
    request.user = admin.get(LIST).wsgi_request.user

    assert navigation.entries_for(request, AdminSite(name="other")) == []


def test_the_audit_log_lists_actions_read_only(admin, operator, failed):
    operator.post(f"{LIST}{failed.pk}/retry/")

    text = text_of(admin.get("/admin/admin/logentry/"))

    assert "Home \N{SINGLE RIGHT-POINTING ANGLE QUOTATION MARK} Audit" in text
    assert re.search(r"olga changed Task queue \| task demo/task \S+ Retried; it was failed\.", text)
    assert admin.get("/admin/admin/logentry/add/").status_code == 403
    assert operator.get("/admin/admin/logentry/").status_code == 403
