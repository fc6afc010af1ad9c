"""A project's own admin site has every page, and the overview at its own address."""

from __future__ import annotations

from types import ModuleType, SimpleNamespace

import pytest
from django.contrib import admin
from django.contrib.admin import AdminSite
from django.contrib.auth.models import User
from django.urls import include, path

from taskqueue.dashboard import Dashboard
from taskqueue.models import Task
from tests.support.admin_pages import text_of

OVERVIEW = "/staff/taskqueue/overview/"


class ShopSite(AdminSite):
    site_header = "The shop"


class ShopDashboard(Dashboard):
    """As in docs/dashboard.md."""

    site_header = "The shop"
    index_is_overview = False


@pytest.fixture(params=[ShopSite, ShopDashboard])
def site(request, settings) -> AdminSite:
    """A mounted site with all registered models."""
    site: AdminSite = request.param(name="admin")
    for model, options in admin.site._registry.items():
        site.register(model, type(options))
    addresses = [path("staff/", site.urls), path("api/", include("taskqueue.urls"))]
    addressed = ModuleType("own_site_urls")
    addressed.urlpatterns = addresses  # type: ignore[attr-defined]
    settings.ROOT_URLCONF = addressed
    return site


def test_the_overview_is_in_the_menu_and_the_index_stays_the_projects(site, viewer):
    assert f'href="{OVERVIEW}"' in viewer.get("/staff/").content.decode()
    page = viewer.get(OVERVIEW)
    assert "<h1>Overview</h1>" in page.content.decode()
    assert "The shop" in text_of(page)
    assert "<h1>Overview</h1>" not in viewer.get("/staff/").content.decode()
    assert viewer.post(OVERVIEW).status_code == 405


def test_every_page_opens(site, admin, failed):
    for app in site.get_app_list(SimpleNamespace(user=User.objects.get(username="ada")), "taskqueue"):
        for model in app["models"]:
            assert admin.get(model["admin_url"]).status_code == 200, model
    for action in ("change/", "edit/", "rerun/", "retry/"):
        assert admin.get(f"/staff/taskqueue/task/{failed.pk}/{action}").status_code == 200
    for action in ("change/", "submit/"):
        assert admin.get(f"/staff/taskqueue/pipeline/demo_2Ftask/{action}").status_code == 200


def test_users_without_view_task_have_no_overview(site, stranger):
    assert stranger.get(OVERVIEW).status_code == 403
    assert OVERVIEW not in stranger.get("/staff/").content.decode()


def test_the_overview_submits_the_example_task(site, admin, settings):
    settings.TASKQUEUE = {"EXAMPLE_PIPELINE": "demo/task"}

    admin.post(f"{OVERVIEW}first-task/")

    assert Task.objects.count() == 1
