"""Live updates: a page answers with its regions, or 304 when they have not changed."""

from __future__ import annotations

import pytest
from django.http import HttpResponse
from django.test import RequestFactory

from taskqueue.engine.maintenance import bulk_operations
from taskqueue.live import HEADER, LiveRegions, regions_of
from taskqueue.models import BulkOperation, Task
from tests.support.admin_pages import text_of

LIST = "/admin/taskqueue/worker/"


def live(viewer, path, tag=""):
    """Request a page as live.js does."""
    return viewer.get(path, headers={HEADER: "1", **({"If-None-Match": tag} if tag else {})})


def test_a_live_request_gets_only_the_regions(viewer):
    whole = viewer.get(LIST).content.decode()
    answer = live(viewer, LIST)

    assert answer.status_code == 200
    assert len(answer.content) < len(whole)
    assert int(answer.headers["Content-Length"]) == len(answer.content)
    assert 'data-region="workers"' in answer.content.decode()
    assert "<script" not in answer.content.decode()


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("taskqueue/bulkoperation", "There are no bulk operations yet."),
        ("taskqueue/token", "There are no tokens yet, so no program can call the API."),
        ("taskqueue/pipelinepermission", "No pipeline permissions yet. Adding one restricts that pipeline"),
        ("admin/logentry", "No actions yet. Each action in the admin or by the API is recorded here"),
    ],
)
def test_each_list_is_live_and_explains_emptiness(admin, path, text):
    whole, answer = admin.get(f"/admin/{path}/"), live(admin, f"/admin/{path}/")

    assert "taskqueue/live.js" in whole.content.decode()
    assert text in text_of(whole)
    assert text in text_of(answer)


def test_a_pipeline_page_is_live_unless_a_form_has_errors(admin):
    page = "/admin/taskqueue/pipeline/demo_2Ftask/"

    refused = admin.post(f"{page}limits/", {"limits-tasks": "0"})

    assert 'id="content-main" data-live data-every="5"' in admin.get(f"{page}change/").content.decode()
    assert "tq-invalid" in refused.content.decode()
    assert "data-live" not in refused.content.decode()


def test_the_end_of_an_operation_is_updated_live(admin, failed):
    admin.post("/admin/taskqueue/bulkoperation/new/retry/?status=failed")
    page = f"/admin/taskqueue/bulkoperation/{BulkOperation.objects.get().pk}/change/"
    assert "Ended \N{EN DASH} Filter" in text_of(live(admin, page))

    bulk_operations.run_batches()

    assert "Ended just now Filter" in text_of(live(admin, page))


def test_an_unchanged_page_answers_304(viewer, failed):
    path = f"/admin/taskqueue/task/{failed.pk}/change/"
    tag = live(viewer, path).headers["ETag"]

    unchanged = live(viewer, path, tag)
    assert (unchanged.status_code, unchanged.content, unchanged.headers["ETag"]) == (304, b"", tag)

    Task.objects.filter(pk=failed.pk).update(labels={"tenant": "acme"})
    assert live(viewer, path, tag).status_code == 200


def test_other_responses_are_not_reduced_to_regions(viewer):
    assert b"<html" in viewer.get(LIST).content
    assert live(viewer, "/admin/taskqueue/nothing/").status_code in (302, 404)
    assert viewer.post(LIST, headers={HEADER: "1"}).status_code in (200, 302, 403)


@pytest.mark.parametrize(
    "region",
    [
        '<div data-region="x"><b>1</b><br><img src="y"></div>',
        '<div data-region="x"><div data-region="y">1</div></div>',
        '<div data-region="x">&lt;div&gt; 2</div>',
        '<ul\n data-region="y"><li>ä</li></ul >',
        '<svg data-region="x"><use href="#a"/><path d="M0"/></svg>',
    ],
)
def test_regions_are_found_in_the_source(region):
    page = f"<p>before</p>\n{region}\n<p>after</p>{region}"

    assert regions_of(page) == f"<!doctype html><title>live</title><body>{region}{region}</body>"


def test_a_page_without_regions_has_none():
    assert regions_of("<p>nothing</p>") == "<!doctype html><title>live</title><body></body>"


def test_regions_keep_the_live_marker():
    page = '<div id="content-main" data-live data-every="2"><p data-region="x">1</p></div>'

    assert '<div id="content-main" data-live data-every="2"></div><p data-region="x">1</p>' in regions_of(page)


def test_relative_times_do_not_change_the_etag():
    pages = iter(f'<p data-region="x"><time datetime="a">{age}s ago</time></p>' for age in (1, 2))
    middleware = LiveRegions(lambda _request: HttpResponse(next(pages)))
    request = RequestFactory().get("/", headers={HEADER: "1"})

    assert middleware(request).headers["ETag"] == middleware(request).headers["ETag"]
