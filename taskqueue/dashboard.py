"""An admin site with taskqueue's overview and navigation, to use in place of Django's own.

    INSTALLED_APPS = ["taskqueue.dashboard.DashboardConfig", ...]   # instead of "django.contrib.admin"

Every page of taskqueue also works in `django.contrib.admin` and in other sites, with the overview at
`taskqueue/overview/`; only the navigation needs this site. Pages are imported in the methods, because Django creates
its site before it imports the apps' `admin` modules.
"""

from __future__ import annotations

from typing import Any

from django.contrib.admin import AdminSite
from django.contrib.admin.apps import AdminConfig
from django.http import HttpRequest, HttpResponse
from django.utils.functional import SimpleLazyObject


class Dashboard(AdminSite):
    """Django's admin site with the overview as its start page."""

    site_header = site_title = "taskqueue"
    index_is_overview = True
    """Whether the overview is the start page; if not, Django's own is, and the overview is at `taskqueue/overview/`."""
    index_template = "taskqueue/index.html"
    app_index_template = "taskqueue/app_index.html"
    login_template = "taskqueue/login.html"

    def each_context(self, request: HttpRequest) -> dict[str, Any]:
        """Add the navigation, which is queried only if the page shows it."""
        from taskqueue.admin import navigation

        entries = SimpleLazyObject(lambda: navigation.entries_for(request, self))
        return {**super().each_context(request), "taskqueue_nav": entries}

    def index(  # type: ignore[override]  # it may answer 304
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """The overview, or Django's list of apps for users who may not see tasks."""
        from taskqueue.admin.overview import page
        from taskqueue.admin.shared import view_wrappers

        if not self.index_is_overview or not page.may_view(request):
            return super().index(request, extra_context)
        return view_wrappers.in_english(page.page)(request, self, extra_context or {})

    def admin_view(self, view: Any, cacheable: bool = False) -> Any:  # noqa: FBT001, FBT002 - Django's own
        """Every view, with a link back on pages that are refused or missing."""
        from taskqueue.admin.shared import view_wrappers

        return view_wrappers.with_error_pages(super().admin_view(view, cacheable), self)

    def login(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """Django's login, with a link back."""
        from taskqueue.admin.shared import view_wrappers

        return view_wrappers.with_error_pages(super().login, self)(request, extra_context)


class DashboardConfig(AdminConfig):
    """Django's admin, with `Dashboard` as its site."""

    default_site = "taskqueue.dashboard.Dashboard"
