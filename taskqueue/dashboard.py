"""The overview and the navigation, for projects that let taskqueue's admin site stand where Django's own does.

    INSTALLED_APPS = ["taskqueue.dashboard.DashboardConfig", ...]   # instead of "django.contrib.admin"

With plain `django.contrib.admin`, or a site of one's own, every page of taskqueue is there too, the overview at
`taskqueue/overview/`; only its navigation is this site's. The pages are imported when they are called for: Django makes
its site before it looks for the apps' `admin` modules.
"""

from __future__ import annotations

from typing import Any

from django.contrib.admin import AdminSite
from django.contrib.admin.apps import AdminConfig
from django.http import HttpRequest, HttpResponse
from django.utils.functional import SimpleLazyObject


class Dashboard(AdminSite):
    """Django's admin site with the overview as its first page."""

    site_header = site_title = "taskqueue"
    index_is_overview = True
    """Whether the overview is the first page. If not, Django's own stays, and `taskqueue/overview/` is a click away."""
    index_template = "taskqueue/index.html"
    app_index_template = "taskqueue/app_index.html"
    login_template = "taskqueue/login.html"

    def each_context(self, request: HttpRequest) -> dict[str, Any]:
        """What every page needs; the navigation is read when a page shows it."""
        from taskqueue.admin import navigation

        entries = SimpleLazyObject(lambda: navigation.entries_for(request, self))
        return {**super().each_context(request), "taskqueue_nav": entries}

    def index(  # type: ignore[override]  # it may answer that nothing has changed
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """The overview; the list of apps for those who may not see tasks."""
        from taskqueue.admin.overview import page
        from taskqueue.admin.shared import framing

        if not self.index_is_overview or not page.is_for(request):
            return super().index(request, extra_context)
        return framing.english(page.page)(request, self, extra_context or {})

    def admin_view(self, view: Any, cacheable: bool = False) -> Any:  # noqa: FBT001, FBT002 - Django's own
        """What is refused or missing leads back, on every page of the site."""
        from taskqueue.admin.shared import framing

        return framing.leading_back(super().admin_view(view, cacheable), self)

    def login(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """Django's, which reads the session and the user."""
        from taskqueue.admin.shared import framing

        return framing.leading_back(super().login, self)(request, extra_context)


class DashboardConfig(AdminConfig):
    """Django's admin, with `Dashboard` as its site."""

    default_site = "taskqueue.dashboard.Dashboard"
